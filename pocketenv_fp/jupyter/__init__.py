"""The IPython extension: ``%load_ext pocketenv_fp.jupyter`` shows values as cards, and adds ``%%sandbox``.

- In a notebook, these values are cards: a Result with its value or its error and advice, a Sandbox and every other
  record, a Page, an ExecResult with its colours, a pipeline, an error, and the results of a `fan_out`. In a terminal
  they look as before. Of a long output, the notebook keeps the start and the end.
- ``%%sandbox NAME`` runs the lines of a cell in a sandbox. With ``--python`` it runs Python code that keeps its
  variables, and shows its figures and tables. ``%sandbox NAME`` shows the sandbox. See ``%%sandbox?``.
- ``on_output=True`` prints into the cell while the command runs: coloured as in a terminal, and cut when it is long.
- An interrupted step is shown as one line instead of a long traceback. The line says if a command may still run.
- While a cell runs, a line shows the current steps and their time.

``%unload_ext pocketenv_fp.jupyter`` restores the previous state. It needs the extra ``jupyter``: IPython and rich.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from pocketenv_fp.runtime.optional import needed

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

__all__ = ["load_ipython_extension", "unload_ipython_extension"]

_loaded: dict[int, ExitStack] = {}


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Load the extension, for ``%load_ext``. Loading it twice has no further effect."""
    needed("rich", "jupyter")
    # Imported here, so that importing this module needs no IPython.
    from pocketenv_fp.jupyter.formats import formats
    from pocketenv_fp.jupyter.interruption import interruption
    from pocketenv_fp.jupyter.live import live
    from pocketenv_fp.jupyter.magic import magic
    from pocketenv_fp.jupyter.output import output_in_cells

    if id(ipython) in _loaded:
        return
    with ExitStack() as stack:
        for feature in (formats, magic, interruption, live, output_in_cells):
            stack.enter_context(feature(ipython))
        _loaded[id(ipython)] = stack.pop_all()


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Unload the extension, for ``%unload_ext``, and restore the previous state."""
    _loaded.pop(id(ipython), ExitStack()).close()
