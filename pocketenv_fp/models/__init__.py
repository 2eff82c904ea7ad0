"""The platform's records: immutable, compared by value, decoded from JSON.

Types are strict: a number in quotes is a DecodeError. Unknown keys are ignored, so that a newer platform stays
readable. No record shows a key in its repr or in HTML.
"""

from __future__ import annotations

from pocketenv_fp.models.parts import (
    Backup,
    DirectoryEntry,
    File,
    Integration,
    Port,
    Secret,
    Service,
    SshKey,
    SshKeyPair,
    TailscaleAuthKey,
    TerminalToken,
    Variable,
    Volume,
)
from pocketenv_fp.models.parts import (
    EntryKind as EntryKind,
)
from pocketenv_fp.models.record import Page
from pocketenv_fp.models.record import Record as Record
from pocketenv_fp.models.running import (
    CodeError,
    CodeResult,
    Display,
    ExecResult,
    Job,
    JobOutput,
    Piece,
    ServiceLogs,
)
from pocketenv_fp.models.sandboxes import Preferences, Profile, Sandbox, Status

__all__ = [
    "Backup",
    "CodeError",
    "CodeResult",
    "DirectoryEntry",
    "Display",
    "ExecResult",
    "File",
    "Integration",
    "Job",
    "JobOutput",
    "Page",
    "Piece",
    "Port",
    "Preferences",
    "Profile",
    "Sandbox",
    "Secret",
    "Service",
    "ServiceLogs",
    "SshKey",
    "SshKeyPair",
    "Status",
    "TailscaleAuthKey",
    "TerminalToken",
    "Variable",
    "Volume",
]
