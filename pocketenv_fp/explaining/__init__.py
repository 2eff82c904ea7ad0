"""Explain pipelines: the requests that they would send, as text or as a curl script."""

from __future__ import annotations

from pocketenv_fp.explaining.curl import as_curl
from pocketenv_fp.explaining.explanation import Explanation
from pocketenv_fp.explaining.rehearsal import explain

__all__ = ["Explanation", "as_curl", "explain"]
