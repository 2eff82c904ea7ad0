"""Where things are: this repository, the platform's published contract and recorded answers beside it, and pytest."""

from pathlib import Path

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PLATFORM = ROOT.parent / "shared" / "platform"
LEXICONS = PLATFORM / "lexicons"
RECORDED = PLATFORM / "recorded"

# A run of pytest with the library's own plugin and no other one: all those of a developer take longer than the run.
PYTEST = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "pocketenv_fp.pytest_plugin")
NO_PLUGINS = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
