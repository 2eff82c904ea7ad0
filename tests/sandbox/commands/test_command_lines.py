"""The same command lines on every provider that the embedded platform plays: one ExecResult for all."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from returns.result import Success

from pocketenv_fp import CommandTimeout, ExecResult, Sandbox, create, exec, exec_script, wait_until_running
from tests.figures import Figures
from tests.levels import WAYS, each_way
from tests.places import RECORDED

# The platform refuses to make a sandbox of blaxel: its form is run in test_wire_form.
PROVIDERS = ("cloudflare", "daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop")
EACH = pytest.mark.parametrize("provider", each_way(*PROVIDERS))


class Line(NamedTuple):
    """A command line with its exit code and stdout. ``complains``: it writes to stderr."""

    text: str
    exit_code: int
    stdout: str
    complains: bool = False


LINES = (
    Line("true", 0, ""),
    Line("echo hi", 0, "hi\n"),
    Line("", 0, ""),
    Line(" \t ", 0, ""),
    Line("# a comment", 0, ""),
    # Exit codes, and what ends a shell
    Line("exit 3", 3, ""),
    Line("exit 255", 255, ""),
    Line("false", 1, ""),
    Line("set -e; false; echo no", 1, ""),
    Line("set -eu; echo $NO_SUCH_VARIABLE", 1, "", complains=True),
    Line("(exit 4)", 4, ""),
    Line("exec echo in its place", 0, "in its place\n"),
    Line("exec >/dev/null; echo unseen", 0, ""),
    Line("no-such-command-anywhere", 127, "", complains=True),
    Line("/etc/passwd", 126, "", complains=True),
    Line("trap 'echo bye' EXIT; exit 6", 6, "bye\n"),
    Line("false | true", 0, ""),
    Line("set -o pipefail; false | true", 1, ""),
    # State
    Line("cd /tmp; pwd", 0, "/tmp\n"),
    Line("cd /tmp; cd - >/dev/null; pwd", 0, "/workspace\n"),
    Line("export A=b; echo $A", 0, "b\n"),
    Line("readonly log=5; echo $log", 0, "5\n"),
    Line("umask 077; ulimit -n 50; true", 0, ""),
    # Quotes
    Line("echo 'it'\\''s' \"a  b\"", 0, "it's a  b\n"),
    Line("printf '%s|' 'a\\nb' \"c\\\\d\" e\\\\f", 0, "a\\nb|c\\d|e\\f|"),
    Line("echo $'a\\tb' \"$((1+2))\" `echo c` $(echo d)", 0, "a\tb 3 c d\n"),
    Line("echo '$HOME' \\$HOME '`id`' '!!' '%d'", 0, "$HOME $HOME `id` !! %d\n"),
    Line('echo "unclosed', 2, "", complains=True),
    Line("echo 'unclosed", 2, "", complains=True),
    Line("echo `unclosed", 2, "", complains=True),
    Line("(echo unclosed", 2, "", complains=True),
    Line("echo a; }", 2, "", complains=True),
    Line("echo x'; exit 9; '", 0, "x; exit 9; \n"),
    Line("echo a ) ; exit 7 ; ( echo b", 2, "", complains=True),
    Line("echo a\\", 0, "a\\\n"),
    Line("-nosuch 2>/dev/null || echo dash", 0, "dash\n"),
    # Several lines
    Line("echo a\necho b", 0, "a\nb\n"),
    Line("\n\necho a\n\n", 0, "a\n"),
    Line("echo a \\\n  b", 0, "a b\n"),
    Line("printf '%s|' 'l1\nl2\n'", 0, "l1\nl2\n|"),
    Line("echo a\r\necho b\r", 0, "a\r\nb\r\n"),
    Line("if true; then\n\techo tab\nfi", 0, "tab\n"),
    Line("cat <<X\na  b\n  $((1+1))\nX\necho after", 0, "a  b\n  2\nafter\n"),
    Line("cat <<-'X'\n\t$a\n\tX", 0, "$a\n"),
    Line("f() {\n  echo in; return 3\n}\nf", 3, "in\n"),
    # Output as it is
    Line("printf x", 0, "x"),
    Line("printf 'a\\n\\n\\n'", 0, "a\n\n\n"),
    Line("printf '\\n'", 0, "\n"),
    Line("printf 'a\\r\\n\\t\\033[0m'", 0, "a\r\n\t\x1b[0m"),
    Line("echo 'héllo 日本 😀'", 0, "héllo 日本 😀\n"),
    Line("printf '\\377a'", 0, "\ufffda"),
    Line("printf out; printf err >&2; exit 5", 5, "out", complains=True),
    Line("printf 'e\\n\\n' >&2", 0, "", complains=True),
    Line("head -c 300000 /dev/zero | tr '\\0' x | wc -c", 0, "300000\n"),
    # Signals
    Line("echo a; kill -9 $$", 137, "a\n"),
    Line("kill -TERM $$; sleep 5", 143, ""),
    Line("trap '' TERM; kill -TERM $$; echo alive", 0, "alive\n"),
    Line("kill 0; sleep 5", 143, ""),
    Line("kill -9 0; sleep 5", 137, ""),
    Line("bash -c 'kill -9 $$'; echo $?", 0, "137\n", complains=True),
    # The background, and standard input
    Line("sleep 30 >/dev/null 2>&1 & echo now", 0, "now\n"),
    Line("sleep 0.1 & wait $!; echo waited", 0, "waited\n"),
    Line("sleep 5 & kill %1; echo job", 0, "job\n"),
    Line("cat; echo eof", 0, "eof\n"),
    Line("read -r x; echo $?", 0, "1\n"),
    # What only bash has
    Line("[[ a == a* ]] && a=(x y) && echo ${a[1]}", 0, "y\n"),
    Line("diff <(echo a) <(echo a) && echo same", 0, "same\n"),
    Line('echo "$0 $#"', 0, "bash 0\n"),
)


def running(provider: str) -> Sandbox:
    """A sandbox of this provider that runs."""
    return (create(f"lines-{provider}", provider=provider) | wait_until_running).unwrap()


@pytest.mark.usefixtures("environment")
@EACH
def test_exec_lines(provider: str, figures: Figures) -> None:
    """Each line in one sandbox, one after the other: its own exit code and output, and the next one runs."""
    box = running(provider)
    wrong: list[str] = []
    for line in LINES:
        result = exec(box, line.text).unwrap()
        is_right = (result.exit_code, result.stdout) == (line.exit_code, line.stdout)
        if not (is_right and bool(result.stderr) == line.complains):
            wrong.append(f"{line.text!r}: {result}")
    figures.line("command lines, right of all", f"{provider:12} {len(LINES) - len(wrong):3} of {len(LINES)}")
    assert wrong == []


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "providers", [sorted(WAYS), pytest.param(PROVIDERS, marks=pytest.mark.slow)], ids=["ways", "all"]
)
def test_exec_lines_same_stderr(providers: Iterable[str]) -> None:
    """What a line writes to stderr is the same on every provider, too, but for the numbers of processes."""
    boxes = [running(provider) for provider in providers]
    complaints = [line.text for line in LINES if line.complains]
    for text in complaints:
        seen = {re.sub(r"[0-9]+", "N", exec(box, text).unwrap().stderr) for box in boxes}
        assert len(seen) == 1, (text, seen)


@pytest.mark.contract
@pytest.mark.usefixtures("environment")
@EACH
def test_exec_recorded_lines(provider: str, figures: Figures) -> None:
    """The lines that were tried on the real platform, on every provider, with their exact output."""
    box = running(provider)
    cases = [json.loads(line) for line in (RECORDED / "lines.jsonl").read_text(encoding="utf-8").splitlines()]
    wrong: list[str] = []
    for case in cases:
        result = exec(box, case["line"]).unwrap()
        if not _is_as_recorded(case, result, provider):
            wrong.append(f"{case['case']}: {result}")
    figures.line("recorded lines, right of all", f"{provider:12} {len(cases) - len(wrong):3} of {len(cases)}")
    assert wrong == []


def _is_as_recorded(case: dict[str, object], result: ExecResult, provider: str) -> bool:
    if case["case"] in {"double quotes", "here-doc", "env of the box"} and provider != "cloudflare":
        return result.exit_code == 0  # the home directory of the provider's user
    if case["exit_code"] is None:
        return True  # shells differ in it: here it only has to end
    expected = case["stdout_less_its_last_newline"]
    return (
        case["exit_code"] == result.exit_code
        and (expected is None or result.stdout.removesuffix("\n") == expected)
        and case["stderr"] == ("some" if result.stderr else "none")
    )


@pytest.mark.slow
@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_exec_options_each_provider(provider: str) -> None:
    """The directory, environment, standard input, time limit and scripts are the same everywhere."""
    box = running(provider)
    env = {"A": 'it\'s "$HOME"\n\n', "PATH": "/usr/bin:/bin", "b_1": "é"}
    assert exec(box, "mkdir -p 'a b'; cd 'a b'; echo \"$PWD|$A|$b_1\"; cat", env=env, stdin="in\n\n", timeout=20) == (
        Success(ExecResult(f"/workspace/a b|{env['A']}|é\nin\n\n", "", 0))
    )
    assert exec(box, "pwd; echo $PATH", cwd="a b", env=env).unwrap().stdout == "/workspace/a b\n/usr/bin:/bin\n"
    assert exec(box, "pwd", cwd="/").unwrap().stdout == "/\n"
    missing = exec(box, "echo ran", cwd="no such").unwrap()
    assert (missing.stdout, missing.exit_code, "no such" in missing.stderr) == ("", 1, True)
    late = exec(box, "printf out; printf err >&2; (trap '' TERM; sleep 0.2); sleep 60", timeout=1).failure()
    assert late == CommandTimeout(1, "out", "err")
    assert exec(box, "exit 124", timeout=20).unwrap().exit_code == 124
    script = "import sys\nprint(sys.argv[1:], sys.stdin.read())\nsys.exit(3)\n\n"
    assert exec_script(box, script, args=["a b", "it's"], timeout=20) == Success(
        ExecResult("['a b', \"it's\"] \n", "", 3)
    )
    long = "\n'\\" * 20_000
    assert exec_script(box, long, "wc -c <").unwrap().stdout == "60000\n"
    assert exec(box, f"cat <<'E' | wc -c\n{long}\nE").unwrap().stdout == "60001\n"
