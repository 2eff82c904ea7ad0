"""Export every error of this library: see `pocketenv_fp.errors.tree`."""

from __future__ import annotations

from pocketenv_fp.errors.answers import *
from pocketenv_fp.errors.answers import api_error_kind as api_error_kind, hides_its_cause as hides_its_cause
from pocketenv_fp.errors.base import Named as Named, Place as Place, PocketenvError
from pocketenv_fp.errors.tree import *
from pocketenv_fp.errors.tree import TransportKind as TransportKind
from pocketenv_fp.errors.work import *

__all__ = [
    "ApiError", "ArchiveError", "CodeFailed", "CodeTimeout", "CommandFailed", "CommandTimeout", "ContextLost",
    "DeadlineExceeded", "DecodeError", "EncryptionError", "InvalidInput", "JobNotFound", "JobTimeout",
    "LoginFailed", "LoginTimeout", "MalformedToken", "NameTaken", "NotLoggedIn", "NotRestored", "NotSupported",
    "PathNotFound", "PathTaken", "PocketenvError", "ProfileNotFound", "RateLimited", "RecordNotFound",
    "RepositoryTaken", "SandboxNotFound", "ServerError", "ServerTimeout", "SessionLost", "ShellBusy", "ShellLost",
    "TransportError", "Unauthorized", "WaitTimeout", "WorkerLost", "raise_for",
]  # fmt: skip
