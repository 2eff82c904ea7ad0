"""Where things are: this repository, and the platform's published contract and recorded answers beside it."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PLATFORM = ROOT.parent / "shared" / "platform"
LEXICONS = PLATFORM / "lexicons"
RECORDED = PLATFORM / "recorded"
