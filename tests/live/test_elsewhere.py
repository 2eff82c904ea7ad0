"""The tests of behaviour, run against a platform in another process, as they are run against the real one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.figures import Figures
from tests.places import ROOT

pytestmark = pytest.mark.slow


def test_live_suite_in_another_process(pytestconfig: pytest.Config, figures: Figures) -> None:
    """The suite passes there, leaves nothing there, and says what it skipped."""
    if pytestconfig.getoption("pocketenv_live"):
        pytest.skip("it starts the suite that is running")
    command = [sys.executable, "-m", "pocketenv_fp.local", "--quiet"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            exports = [server.stdout.readline() for _ in range(4)]
            names = dict(line.removeprefix("export ").rstrip().split("=", 1) for line in exports)
            ran = subprocess.run(
                [
                    sys.executable,
                    "-m",
                    "pytest",
                    "-q",
                    "-n0",
                    "-rs",
                    "-p",
                    "no:cacheprovider",
                    "--pocketenv-live",
                    "tests/live",
                ],
                cwd=ROOT,
                env={**os.environ, **names},
                capture_output=True,
                text=True,
                timeout=600,
                check=False,
            )
        finally:
            server.terminate()
    assert ran.returncode == 0, ran.stdout[-4000:]
    assert "sandboxes left behind: 0" in ran.stdout
    figures.line("tests of behaviour", f"in another process: {ran.stdout.strip().splitlines()[-1]}")
