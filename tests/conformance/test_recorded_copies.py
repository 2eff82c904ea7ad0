"""The recorded copies, played again: answers, archives, the files that arrive, and the shell's directory afterwards."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, NamedTuple

import pytest

from pocketenv_fp import local
from pocketenv_fp.local.box import bubblewrap
from tests.conformance import copy_replay, session_replay
from tests.conformance.copy_replay import Copies, Row, Storage
from tests.figures import Figures

pytestmark = [
    pytest.mark.contract,
    pytest.mark.skipif(bubblewrap() is None, reason="no bubblewrap that works here: install it, or allow namespaces"),
]

THREADS = 6
# Calls with another result here, and why.
_DIED = "the recorded shell died in this call, as it does not in the same call later: an accident of the recording"
_AFTER = "the files of the calls in which the recorded shell was dead are there"
OTHERWISE: dict[str, str] = {
    "exec 0.7.8: where the relative one went": "the recording's stand-in for sudo copied a second time; here is no sudo",
    "pullDirectory 0.7.18: the same once more: merged over": _DIED,
    "pullDirectory 0.7.18: trailing slash": _DIED,
    "pullDirectory 0.7.18: missing parents are made": _DIED,
    "pullDirectory 0.7.18: existing directory: merge, files overwritten": _AFTER,
    "pullDirectory 0.7.18: target exists as a file": _AFTER,
}
# Left to chance, on the platform too: whether tar sees its own archive grow, and whether the mkdir before "&" is faster than the cp.
CHANCE = {"pushDirectory 0.7.18: dot: that is /tmp itself", 'pullDirectory 0.7.18: name "am&p"'}
# `mkdir /workspace/am &` and `cp f /workspace/am &` run at the same time: `am` is a file where the second one is first.
RACE = 'pullDirectory 0.7.18: name "am&p"'
OTHER_END = ["d 755 /workspace ", "f 644 /workspace/am "]
_PAGE = "one address serves the API and the storage here, and its root is a page for people"
OTHERWISE_STORED: dict[str, str] = {
    "storage : root": _PAGE,
    "storage : root no login": _PAGE,
    "storage : OPTIONS": "one address serves both here: the API's answer has no type, and is empty like this one",
}


class Played(NamedTuple):
    """A call with the recorded and the actual result."""

    row: Row
    recorded: Any
    seen: Any

    @property
    def name(self) -> str:
        """Its name in the tables."""
        return f"{self.row['call']} {self.row.get('container', '')}: {self.row['case']}"


Series = dict[str, list[Row]]


def each_name_once(series: Series) -> Series:
    """Return the series, those of a name that was both pushed and pulled in one of both directions, in turn."""
    groups = dict[str, list[str]]()
    for title in series:
        groups.setdefault(title.removeprefix("push ").removeprefix("pull ") if " name " in title else title, []).append(
            title
        )
    titles = [group[number % len(group)] for number, group in enumerate(groups.values())]
    return {title: series[title] for title in titles}


def play(series: Series) -> list[Played]:
    """Play all series at the same time."""
    with ExitStack() as stack:
        platforms = {
            container: stack.enter_context(local.platform(isolation="bubblewrap", container=container))
            for container in ("0.7.8", "0.7.18")
        }

        def one(name: str, calls: list[Row]) -> list[Played]:
            platform = platforms["0.7.18" if name.endswith("0.7.18") else "0.7.8"]
            return [Played(*each) for each in Copies(platform, platform.token, name).replay(calls)]

        with ThreadPoolExecutor(THREADS) as pool:
            tasks = [pool.submit(one, name, calls) for name, calls in series.items()]
            return [played for task in tasks for played in task.result() if played.name not in CHANCE]


def _is_other_end(played: Played) -> bool:
    return played.name == RACE and played.seen == {**played.recorded, "new_or_changed": OTHER_END}


def report(played: list[Played], otherwise: dict[str, str], what: str, figures: Figures) -> None:
    """Print how many are equal, and fail for what is not and has no reason, or has one and is equal."""
    different = {each.name: each for each in played if each.recorded != each.seen and not _is_other_end(each)}
    equal = f"{len(played) - len(different)} of {len(played)} recorded {what} equal, {len(otherwise)} named"
    figures.line("the recorded copies", equal)
    wrong = [each for name, each in different.items() if name not in otherwise]
    assert not wrong, "\n".join(f"{each.name}\n  {each.recorded}\n  {each.seen}" for each in wrong)
    assert not [name for name in otherwise if name not in different], "these are equal now"


@pytest.mark.parametrize(
    "share", [each_name_once, pytest.param(dict, marks=pytest.mark.slow)], ids=["each once", "all"]
)
def test_recorded_copies(share: Callable[[Series], Series], figures: Figures) -> None:
    """Each push and pull has the recorded answer, archive and files."""
    rows = [row for row in session_replay.read("copy.jsonl") if row["call"] != "storage"]
    report(play(share(copy_replay.series(rows))), OTHERWISE, "copies", figures)


def test_recorded_storage(figures: Figures) -> None:
    """Each request to the storage has the recorded status, type and body."""
    rows = [row for row in session_replay.read("copy.jsonl") if row["call"] == "storage"]
    with local.platform() as platform:
        storage = Storage(platform)
        played = [
            Played(row, copy_replay.typed({name: row[name] for name in ("status", "content-type", "body")}), seen)
            for row in rows
            for seen in [copy_replay.typed(storage.play(row))]
        ]
    report(played, OTHERWISE_STORED, "requests to the storage", figures)
