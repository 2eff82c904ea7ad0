"""The wire form against real shells: each provider's way to hand a command to a shell is played by subprocess."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from pocketenv_fp import ExecResult
from pocketenv_fp.providers import Provider, provider_of
from pocketenv_fp.sandbox.wire_form import Command, output, wire_form

RECORDED = Path(__file__).parent.parent.parent / "shared" / "platform" / "recorded" / "lines.jsonl"
PROVIDERS = (
    *("cloudflare", "daytona", "deno", "vercel", "sprites"),
    *("modal", "e2b", "blaxel", "hopx", "runloop"),
)
REAL_SHELL = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=40)

# How the server of each provider calls a shell, by providers.md. A raw newline on the wire gets four spaces on Cloudflare.
POSIX_SHELL = "dash" if shutil.which("dash") else "sh"
SHELLS: Mapping[str, Callable[[str], list[str]]] = {
    "cloudflare": lambda sent: ["bash", "-c", sent.replace("\n", "\n    ")],
    "daytona": lambda sent: [POSIX_SHELL, "-c", sent],
    "deno": lambda sent: [POSIX_SHELL, "-c", sent],
    "vercel": lambda sent: ["sh", "-c", sent],
    "sprites": lambda sent: ["bash", "-c", sent],
    "modal": lambda sent: ["bash", "-c", sent],
    "e2b": lambda sent: ["bash", "-c", f"bash -c {sent}"],
    "blaxel": lambda sent: ["bash", "-c", f"bash -c {sent}"],
    "hopx": lambda sent: ["bash", "-c", sent],
    "runloop": lambda sent: [POSIX_SHELL, "-c", f'bash -c "{sent}"'],
}


def played(provider: Provider, sent: str, **options: Any) -> ExecResult:
    """Run what was sent as the provider would, and give its answer."""
    done = subprocess.run(
        SHELLS[provider.name](sent), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False, **options
    )
    stderr = done.stderr.decode(errors="replace") if provider.has_stderr else ""
    if provider.lost_exit_code:
        assert done.returncode == 0, "a 500 of the platform"
    return ExecResult(done.stdout.decode(errors="replace"), stderr, done.returncode)


def ran(name: str, command: Command, **options: Any) -> Any:
    provider = provider_of(name)
    sent = wire_form(command, provider).unwrap()
    assert "\n" not in sent
    answer = played(provider, sent, **options)
    # The platform drops one last newline.
    return output(
        ExecResult(answer.stdout.removesuffix("\n"), answer.stderr.removesuffix("\n"), answer.exit_code),
        command,
        provider,
    )


@pytest.fixture
def somewhere(tmp_path: Path) -> str:
    return str(tmp_path)


@pytest.mark.parametrize("name", PROVIDERS)
def test_wire_form_recorded_lines(name: str, somewhere: str) -> None:
    """The 83 lines of the real platform come out as they did there."""
    if not RECORDED.exists():
        pytest.skip("the recorded lines are not here")
    wrong: list[str] = []
    cases = [json.loads(line) for line in RECORDED.read_text().splitlines()]
    for case in cases:
        if case["exit_code"] is None or case["case"] in {"cwd"}:
            continue
        result = ran(name, Command(case["line"], somewhere), env={"PATH": "/usr/bin:/bin", "HOME": "/root"}).unwrap()
        expected = case["stdout_less_its_last_newline"]
        if (
            result.exit_code != case["exit_code"]
            or (expected is not None and result.stdout.removesuffix("\n") != expected)
            or bool(result.stderr) != (case["stderr"] == "some")
        ):
            wrong.append(f"{case['case']}: {result}")
    assert wrong == []
