"""The recorded sessions of one shell, played again: every status and every answer is the real platform's."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.box import Container, bubblewrap
from tests.conformance import session_replay
from tests.conformance.session_replay import Difference, Session, Step
from tests.figures import Figures

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(bubblewrap() is None, reason="no bubblewrap that works here: install it, or allow namespaces"),
]

THREADS = 8
# The steps with another result here, by session and number, and why. A step with the recorded result must not be here.
_ONE_USER = "a box maps one user of this machine, and su cannot become another"
OTHERWISE: dict[tuple[str, int], str] = {("shells 0.7.8", 6): _ONE_USER, ("shells 0.7.18", 6): _ONE_USER}
# Sessions with another limit than the recorded 3 seconds, and why.
LIMITS: dict[str, float] = {
    # Twice the limit is as long as its command: the order of both would be left to chance.
    "slow command": 2.5,
}


class Played(NamedTuple):
    """A session to play: its container, its time limit, and its steps."""

    name: str
    container: Container
    limit: float
    steps: Sequence[Step]

    @property
    def waits(self) -> int:
        """The number of its steps that wait for a time limit."""
        return sum(1 for step in self.steps if step.get("hang") or (self.limit < 300 and step["status"] == 500))


def sessions() -> list[Played]:
    """Return every recorded session, on each container of the recording."""
    found = [
        Played(each["session"], container, 300.0, each["steps"])
        for file in ("exec.jsonl", "exec-0.7.18.jsonl")
        for each in session_replay.read(file)
        for container in each["containers"]
    ]
    for each in session_replay.read("exec-timeout.jsonl"):
        limit: float = LIMITS.get(each["session"]) or each["COMMAND_TIMEOUT_MS"] / 1000
        found.append(Played(f"timeout: {each['session']}", each["container"], limit, each["steps"]))
    for row in session_replay.read("wire-form-robustness.jsonl"):
        name = f"state {row['state']!r}, form {row['form']}"
        found.append(Played(name, row["container"], 300.0, session_replay.robustness(row)))
    return found


def each_once(played: Sequence[Played]) -> list[Played]:
    """Return each session once: on one of its containers, or with one of its forms, in turn."""
    groups = dict[str, list[Played]]()
    for each in played:
        groups.setdefault(each.name.partition(", form ")[0], []).append(each)
    return [group[number % len(group)] for number, group in enumerate(groups.values())]


def play(played: Sequence[Played]) -> list[list[Difference]]:
    """Play sessions at the same time and return the differences of each."""
    with ExitStack() as stack:
        platforms: dict[tuple[Container, float], local.Platform] = {}
        for each in played:
            if (each.container, each.limit) not in platforms:
                platforms[each.container, each.limit] = stack.enter_context(
                    local.platform(isolation="bubblewrap", container=each.container, exec_seconds=each.limit)
                )

        def one(each: Played) -> list[Difference]:
            platform = platforms[each.container, each.limit]
            return Session(platform, platform.token).replay(each.steps)

        with ThreadPoolExecutor(THREADS) as pool:
            # Sessions with waits come first.
            order = sorted(played, key=lambda each: -each.waits)
            tasks = [(each, pool.submit(one, each)) for each in order]
            came = {id(each): task.result() for each, task in tasks}
        return [came[id(each)] for each in played]


@pytest.mark.parametrize("share", [each_once, pytest.param(list, marks=pytest.mark.slow)], ids=["each once", "all"])
def test_recorded_sessions(share: Callable[[list[Played]], list[Played]], figures: Figures) -> None:
    """Each step of each session has the recorded status and answer, but for those that are named with a reason."""
    played = share(sessions())
    differences = play(played)
    names = {f"{each.name} {each.container}" for each in played}
    expected = {(name, step): why for (name, step), why in OTHERWISE.items() if name in names}
    wrong, unequal = list[str](), 0
    for each, found in zip(played, differences, strict=True):
        left = [one for one in found if expected.pop((f"{each.name} {each.container}", one.step), None) is None]
        unequal += bool(found)
        wrong += [f"{each.name} {each.container} {one}" for one in left]
    named = len(names & {name for name, _ in OTHERWISE})
    equal = f"{len(played) - unequal} of {len(played)} recorded sessions equal, {named} steps named"
    figures.line("the recorded sessions", equal)
    assert not wrong, "\n".join(wrong)
    assert not expected, f"these are equal now: {expected}"
