"""The platform's records: immutable, compared by value, decoded from JSON.

Types are strict: a number in quotes is a DecodeError. Unknown keys are ignored, so that a newer platform stays
readable. No record shows a key in its repr or in HTML.
"""

from __future__ import annotations

from pocketenv_fp.models import parts, running, sandboxes
from pocketenv_fp.models.parts import *
from pocketenv_fp.models.parts import EntryKind as EntryKind
from pocketenv_fp.models.record import Page, Record as Record
from pocketenv_fp.models.running import *
from pocketenv_fp.models.sandboxes import *

__all__: list[str] = ["Page"]
__all__ += parts.__all__
__all__ += running.__all__
__all__ += sandboxes.__all__
list.sort(__all__)  # pyright does not read a module with `__all__.sort()`
