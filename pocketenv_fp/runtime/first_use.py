"""Import modules on first use. An import opens files, so it fails when the process has too many open files.

>>> from pocketenv_fp.runtime.first_use import unopened
>>> unopened("json", "no_such_package") is None
True
"""

from __future__ import annotations

import errno
import importlib
import os

__all__ = ["unopened"]


def unopened(*modules: str) -> str | None:
    """Import ``modules``. Return the reason if the system did not open one of their files, else None.

    A missing package is no such reason: the import statement after this call raises its ImportError.
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except OSError as error:
        return error.strerror or type(error).__name__
    except ImportError as error:
        # For a compiled module, only the message has the reason.
        reasons = (os.strerror(number) for number in (errno.EMFILE, errno.ENFILE))
        return next((reason for reason in reasons if reason in str(error)), None)
    return None
