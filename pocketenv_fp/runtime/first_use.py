"""Import modules on first use. An import opens files, so it fails when the process has too many open files.

>>> from pocketenv_fp.runtime.first_use import unopened
>>> unopened("json", "no_such_package")
"""

from __future__ import annotations

import errno
import importlib
import os
from typing import Any

from returns.result import Failure, Result

from pocketenv_fp.errors import PocketenvError, TransportError

__all__ = ["unopened", "unopened_failure"]

_NO_FILES = (errno.EMFILE, errno.ENFILE)


def unopened(*modules: str) -> str | None:
    """Import ``modules``. Return the reason if the system did not open one of their files, else None.

    A missing package is no such reason: the import statement after this call raises its ImportError.
    """
    try:
        for module in modules:
            importlib.import_module(module)
    except (OSError, ImportError) as error:
        return _reason(error)
    return None


def unopened_failure(error: OSError | ImportError, operation: str) -> Result[Any, PocketenvError]:
    """Return a Failure if an import statement of this library raised ``error``, or else raise it again.

    An import in a function of the caller's is not this library's.
    """
    if (reason := _reason_of_import(error)) is None:
        raise error
    # An earlier request of the operation may have been sent.
    return Failure(TransportError("connect", f"a module was not loaded: {reason}", operation, maybe_sent=True))


def _reason_of_import(error: OSError | ImportError) -> str | None:
    importer, is_import = "", isinstance(error, ImportError)
    traceback = error.__traceback__
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        # The first frame below the import statement. Python removes its own frames from an ImportError.
        if frame.f_code.co_name == "<module>" or "importlib" in frame.f_code.co_filename:
            is_import = True
            break
        importer = str(frame.f_globals.get("__name__"))
    return _reason(error) if is_import and importer.startswith("pocketenv_fp.") else None


def _reason(error: OSError | ImportError) -> str | None:
    # For a compiled module, only the message has the reason.
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return next((reason for reason in map(os.strerror, _NO_FILES) if reason in str(error)), None)
