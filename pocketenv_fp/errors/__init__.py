"""Export every error of this library: see `pocketenv_fp.errors.tree`."""

from __future__ import annotations

from pocketenv_fp.errors import answers, tree, work
from pocketenv_fp.errors.answers import *
from pocketenv_fp.errors.answers import api_error_kind as api_error_kind, hides_its_cause as hides_its_cause
from pocketenv_fp.errors.base import Named as Named, Place as Place, PocketenvError
from pocketenv_fp.errors.tree import *
from pocketenv_fp.errors.tree import TransportKind as TransportKind
from pocketenv_fp.errors.work import *

__all__: list[str] = ["PocketenvError"]
__all__ += answers.__all__
__all__ += tree.__all__
__all__ += work.__all__
list.sort(__all__)  # pyright does not read a module with `__all__.sort()`
