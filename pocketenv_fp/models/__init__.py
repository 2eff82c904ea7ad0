"""The platform's records: immutable, compared by value, decoded from JSON.

Types are strict: a number in quotes is a DecodeError. Unknown keys are ignored, so that a newer platform stays
readable. No record shows a key in its repr or in HTML.
"""

from __future__ import annotations

from pocketenv_fp.models.parts import *
from pocketenv_fp.models.parts import EntryKind as EntryKind
from pocketenv_fp.models.record import Page, Record as Record
from pocketenv_fp.models.running import *
from pocketenv_fp.models.sandboxes import *

__all__ = [
    "Backup", "CodeError", "CodeResult", "DirectoryEntry", "Display", "ExecResult", "File", "Integration", "Job",
    "JobOutput", "Page", "Piece", "Port", "Preferences", "Profile", "Sandbox", "Secret", "Service", "ServiceLogs",
    "SshKey", "SshKeyPair", "Status", "TailscaleAuthKey", "TerminalToken", "Variable", "Volume",
]  # fmt: skip
