"""Sandboxes that programs left are found by their topic, and no other is deleted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from decimal import Decimal
from fractions import Fraction
from typing import Any, cast

import pytest
from returns.result import Failure, Success

from pocketenv_fp import (
    Config,
    InvalidInput,
    Page,
    Sandbox,
    ServerError,
    create,
    delete,
    ephemeral,
    explain,
    get_sandbox,
    identity,
    iter_sandboxes_by_actor,
    local,
    managed,
    me,
    refresh,
    rename,
    start,
    stop,
    sweep,
    tap,
    using,
)
from pocketenv_fp.local.faults import Refuse
from pocketenv_fp.pocketenv.sweeping import swept
from pocketenv_fp.runtime.marks import EPHEMERAL, expiry_of, marking
from pocketenv_fp.sandbox import update_settings
from pocketenv_fp.sandbox.managed import topics_for
from tests.local.wire import eventually

OLD = 0.001
pytestmark = pytest.mark.usefixtures("environment")


def names(page: Any) -> list[str]:
    return [each.unwrap().name for each in page.unwrap()]


def left(name: str, **options: Any) -> Sandbox:
    """Return a sandbox as a killed program leaves it."""
    with marking(topics_for(options.pop("ttl", None))):
        return create(name, **options).unwrap()


def test_sweep_marked(platform: local.Platform) -> None:
    """Only marked sandboxes that are old enough, in few requests."""
    create("plain", topics=["other", "pocketenv-fp-ephemeral-2"]).unwrap()
    left("one")
    left("two", topics=["other"])
    assert sweep(older_than=3600) == Success(Page((), 0))
    before = len(platform.calls)
    assert sorted(names(sweep(older_than=OLD))) == ["one", "two"]
    sent = [method.rpartition(".")[2] for method, _ in list(platform.calls)[before:]]
    # The token says whose it is.
    assert sorted(sent) == ["deleteSandbox"] * 2 + ["getActorSandboxes"] + ["getSandbox"] * 3
    assert [get_sandbox(name).unwrap() is None for name in ("one", "two", "plain")] == [True, True, False]
    assert names(sweep(older_than=OLD, topic="other")) == ["plain"]


def test_sweep_ttl() -> None:
    """A sandbox with its own lifetime is judged by it alone."""
    left("over", ttl=0.001)
    left("lives", ttl=3600)
    left("none")
    time.sleep(1)  # the expiry is in whole seconds
    assert names(sweep(older_than=3600)) == ["over"]
    assert names(sweep(older_than=OLD)) == ["none"]
    assert names(sweep(older_than=OLD)) == []


def test_sweep_keeps_unmarked() -> None:
    """A sandbox whose mark was removed stays."""
    box = left("mine")
    (box | update_settings(topics=["kept"])).unwrap()
    (left("renamed") | rename("other-name")).unwrap()
    assert names(sweep(older_than=OLD)) == ["other-name"]


def test_sweep_others(platform: local.Platform) -> None:
    """The sandboxes of another user stay, whatever their topics."""
    with using(Config(token=platform.new_user("another.test"))):
        theirs = left("theirs")
    assert names(sweep(older_than=OLD)) == []
    assert isinstance(theirs | refresh, Success)


def test_sweep_keeps_failures(platform: local.Platform) -> None:
    """One that cannot be deleted is a Failure among the others, and is named."""
    boxes = {left(name).id for name in ("one", "two", "three")}
    with platform.faults.on("sandbox.deleteSandbox", Refuse(500), times=1):
        page = sweep(older_than=OLD).unwrap()
    assert page.total == len(page) == 3
    (failed,) = (each.failure() for each in page if isinstance(each, Failure))
    assert isinstance(failed, ServerError)
    (note,) = failed.__notes__
    deleted = {each.unwrap().id for each in page if isinstance(each, Success)}
    assert (boxes - deleted).pop() in note
    assert len(names(sweep(older_than=OLD))) == 1


def test_sweep_already_deleted() -> None:
    """One that another program deletes first is no item."""
    box = left("one")
    (box | delete).unwrap()
    assert swept(box, EPHEMERAL, OLD, "did") is None


def test_sweep_list_fails(platform: local.Platform) -> None:
    box = left("one")
    with platform.faults.on("actor.getActorSandboxes", Refuse(400), times=1):
        assert isinstance(sweep(older_than=OLD), Failure)
    assert isinstance(box | refresh, Success)


def test_sweep_refuses() -> None:
    for older_than, topic in ((0, "a"), (-1, "a"), (1, ""), (1, "a" * 51)):
        assert isinstance(sweep(older_than=older_than, topic=topic).failure(), InvalidInput)
    with pytest.raises(TypeError, match="older_than"):
        sweep()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_ephemeral_marks() -> None:
    topics: list[tuple[str, ...] | None] = []
    look = tap(refresh.map(lambda box: topics.append(box.topics)))
    for step in (ephemeral(look), ephemeral(look, topics=["a"], ttl=60), managed(look), managed(look, release=delete)):
        step("box").unwrap()
    assert topics[0] == topics[2] == topics[3] == (EPHEMERAL,)
    marked = topics[1]
    assert marked is not None
    assert marked[:2] == ("a", EPHEMERAL)
    expiry = expiry_of(marked[2:])
    assert expiry is not None
    assert abs(expiry - time.time()) < 120
    # What another release keeps is kept.
    kept = managed(identity, release=stop)("kept").unwrap()
    assert (kept | refresh).unwrap().topics is None
    assert names(sweep(older_than=OLD)) == []


def test_ephemeral_ttl_of_another_type() -> None:
    marked: list[list[str]] = []
    use = refresh.map(lambda box: marked.append(list(box.topics or ())))
    for ttl in (Decimal(60), Fraction(60)):
        assert isinstance(ephemeral(use, ttl=cast("float", ttl))("ci"), Success)
    assert [len(topics) for topics in marked] == [2, 2]


def test_ephemeral_wrong_ttl() -> None:
    assert isinstance(ephemeral(start, ttl=-1)("box").failure(), InvalidInput)
    with pytest.raises(TypeError, match="ttl"):
        ephemeral(start, ttl="60")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def test_ephemeral_ttl_explained() -> None:
    text = str(explain(ephemeral(start, ttl=60), "ci"))
    assert '"pocketenv-fp-ephemeral", "‹EXPIRY_TOPIC›"' in text
    assert repr(ephemeral(start, ttl=60)) == "ephemeral(start(), ttl=60)"


def test_sweep_after_kill(environment: dict[str, str]) -> None:
    """A program that is killed leaves its sandbox, and sweep finds it."""
    program = "from pocketenv_fp import *; ephemeral(start | exec('sleep 600'))('left')"
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **environment})

    def all_names() -> list[str]:
        listed = [each.unwrap() for each in iter_sandboxes_by_actor(me().unwrap().did)]
        return [box.name for box in listed if (box | refresh).unwrap().topics == (EPHEMERAL,)]

    assert eventually(lambda: len(all_names()) == 1, 60)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert names(sweep(older_than=3600)) == []
    (found,) = names(sweep(older_than=OLD))
    assert found.startswith("left-")
