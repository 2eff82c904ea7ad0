"""The IPython extension: ``%load_ext pocketenv_fp.jupyter`` shows values as cards, and brings ``%%sandbox``.

- A Success or a Failure, with the value or the error and its advice in it; a Sandbox and every other record, a Page, an
  ExecResult with its colours, a pipeline, an error, and the list that a `fan_out` gives, are cards in a notebook. In a
  terminal they look as before. Of a long output a notebook keeps the beginning and the end.
- ``%%sandbox NAME`` runs the lines of a cell in a sandbox, ``%sandbox NAME`` shows it: see ``%%sandbox?``.
- An interrupted step is one line, which says that a command may still run, in place of a long traceback.
- While a cell runs, a line tells which steps it is at, and for how long.

``%unload_ext pocketenv_fp.jupyter`` puts everything back as it was. It needs the extra ``jupyter``, which is IPython.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_loaded: dict[int, ExitStack] = {}


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Do what ``%load_ext`` asks for. Loading it twice is the same as once."""
    # Imported here, so that importing this module needs no IPython.
    from pocketenv_fp.jupyter.formats import formats
    from pocketenv_fp.jupyter.interruption import interruption
    from pocketenv_fp.jupyter.live import live
    from pocketenv_fp.jupyter.magic import magic

    if id(ipython) in _loaded:
        return
    with ExitStack() as stack:
        for brought in (formats, magic, interruption, live):
            stack.enter_context(brought(ipython))
        _loaded[id(ipython)] = stack.pop_all()


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Do what ``%unload_ext`` asks for: put everything back as it was before."""
    _loaded.pop(id(ipython), ExitStack()).close()
