"""The command of a service that `spawn` started, without the shell text that `spawn` adds."""

from __future__ import annotations

import re

__all__ = ["command_of"]

_QUOTED = r"'[^']*'(?:\\''[^']*')*"
_WORD = rf"""(?:{_QUOTED}|"\$\(printf %b {_QUOTED}\)(?:\$\{{IFS#\?\?\}})*")"""
# The whole form, and nothing else: another program may store a command that looks like it. It is compiled on first use.
_FORM = (
    r"\(cd /tmp; m=\$\(umask\); umask 077; \{ mkdir -p (?P<at>\.pocketenv-services/[\w.+-]+) && cd (?P=at) && "
    r'\{ \[ "\$\(cat mark\)" = (?P<mark>spawn-[0-9a-f]{12}) \] \|\| '
    r"\{ rm -f stdout stderr; echo (?P=mark) >mark; \}; \} && true >>stdout && true >>stderr; \} 2>/dev/null "
    r"&& exec >>stdout 2>>stderr; umask \$m; "
    rf"cd (?:[\w/.+-]+|{_WORD}) && exec env (?:\w+={_WORD} )*POCKETENV_SPAWNED='(?P=mark)' "
    rf"bash -c (?P<command>{_QUOTED})\)"
)


def command_of(stored: str) -> str:
    r"""Return the caller's command. A command that `spawn` did not store, or one with newlines, is returned unchanged.

    >>> from pocketenv_fp.models.spawned import command_of
    >>> command_of("sleep 60")
    'sleep 60'
    """
    form = re.fullmatch(_FORM, stored, re.ASCII)
    return stored if form is None else form["command"][1:-1].replace(r"'\''", "'")
