"""Open an interactive terminal in a sandbox: `console`. It needs the extra ``console``."""

from pocketenv_fp.terminal.consoles import console

__all__ = ["console"]
