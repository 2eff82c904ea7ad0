"""Listeners: the output of commands in asyncio and in a fan_out, while they run."""

from __future__ import annotations

import asyncio
import gc
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import Any

import pytest
from returns.result import Failure, Result, Success

from pocketenv_fp import (
    Config,
    DeadlineExceeded,
    ExecResult,
    NotLoggedIn,
    Piece,
    PocketenvError,
    Sandbox,
    aio,
    create,
    exec,
    fan_out,
    follow,
    list_jobs,
    run_code,
    start,
    submit,
    tap,
    wait_for_job,
)
from pocketenv_fp.runtime.deadline import exceeded
from pocketenv_fp.steps.listening import listener, listening, prefixed
from pocketenv_fp.steps.operation import step as as_step
from tests import servers

pytestmark = pytest.mark.usefixtures("environment")


def made(name: str = "box") -> Sandbox:
    return (create(name) | start).unwrap()


# asyncio


def test_pieces_of_a_job() -> None:
    """They come while it runs, and the result is there afterwards."""
    box = made()
    job = (box | submit("while [ ! -e go ]; do sleep 0.05; done; echo went; echo err >&2")).unwrap()

    async def main() -> tuple[list[Piece], object]:
        (box | exec("touch go")).unwrap()
        pieces = aio(follow).pieces(job)
        return [piece async for piece in pieces], await pieces

    seen, result = asyncio.run(main())
    assert sorted((piece.stream, piece.text) for piece in seen) == [("stderr", "err\n"), ("stdout", "went\n")]
    assert result == Success(ExecResult("went\n", "err\n", 0))


def test_pieces_live() -> None:
    """A piece is there before the command ends."""
    box = made()

    async def main() -> str:
        pieces = aio(exec("echo ask; while [ ! -e go ]; do sleep 0.05; done; echo went")).pieces(box)
        async for piece in pieces:
            if piece.text == "ask\n":
                (await aio(exec("touch go"))(box)).unwrap()
        return (await pieces).unwrap().stdout

    assert asyncio.run(main()) == "ask\nwent\n"


def test_pieces_of_many_steps() -> None:
    """Commands of a pipeline, and code, are heard. A command with a function of its own is not."""
    own: list[Piece] = []
    pipeline = create | start | tap(exec("echo a")) | run_code("print('code')")

    async def main() -> str:
        heard = aio(pipeline).pieces("box")
        text = "".join([str(piece) async for piece in heard])
        silent = aio(exec("echo own", on_output=own.append)).pieces(made("other"))
        return text + "".join([str(piece) async for piece in silent])

    assert asyncio.run(main()) == "a\ncode\n"
    assert "".join(map(str, own)) == "own\n"


def test_pieces_slow_reader() -> None:
    """A slow reader gets all pieces."""
    box = made()

    async def main() -> str:
        text = ""
        async for piece in aio(exec("for n in $(seq 30); do echo $n; sleep 0.02; done; seq 200000")).pieces(box):
            await asyncio.sleep(0.05)
            text += piece.text
        return text

    lines = asyncio.run(main()).splitlines()
    assert lines == [*map(str, range(1, 31)), *map(str, range(1, 200_001))]


def test_pieces_break() -> None:
    """Leaving the loop kills a command that prints nothing more."""
    box = made()

    async def main() -> object:
        pieces = aio(exec("echo on; sleep 600")).pieces(box)
        async for _ in pieces:
            break
        return await pieces

    result = asyncio.run(main())
    assert isinstance(result, Failure)
    assert isinstance(result.failure(), DeadlineExceeded)
    (job,) = (box | list_jobs).unwrap()
    assert (job | wait_for_job(timeout=60)).unwrap().exit_code == 143


def test_pieces_cancelled() -> None:
    """A cancelled task kills the command. The job of a follow runs on."""
    box = made()
    job = (box | submit("echo on; while [ ! -e go ]; do sleep 0.05; done; echo off")).unwrap()

    async def read(step: Any, target: Any, begun: asyncio.Event) -> None:
        async for _ in aio(step).pieces(target):
            begun.set()

    async def main() -> None:
        for step, target in ((exec("echo on; sleep 600"), box), (follow, job)):
            begun = asyncio.Event()
            task = asyncio.create_task(read(step, target, begun))
            await asyncio.wait_for(begun.wait(), 60)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    (box | exec("touch go")).unwrap()
    assert (job | wait_for_job(timeout=60)).unwrap().stdout == "on\noff\n"
    (killed,) = [each for each in (box | list_jobs).unwrap() if each != job]
    assert (killed | wait_for_job(timeout=60)).unwrap().exit_code == 143


@pytest.mark.parametrize("is_late", [False, True])
def test_pieces_of_a_closed_loop(is_late: bool) -> None:  # noqa: FBT001
    """A step that prints after the end of the loop is ended. Its thread does not wait for a reader."""
    closed, ended = threading.Event(), threading.Event()
    heard: list[object] = []

    @as_step(Sandbox)
    def talk(_: Sandbox, *, token: str | None = None, config: Config | None = None) -> Result[None, PocketenvError]:  # noqa: ARG001
        tell = listener()
        assert tell is not None
        tell(Piece("stdout", "on", 2))
        if is_late:
            closed.wait(60)
        try:
            # More than the reader takes before the end of the loop.
            for at in range(40):
                tell(Piece("stdout", "off", at))
            heard.append(exceeded("talk"))
        finally:
            ended.set()
        return Success(None)

    async def main() -> object:
        pieces = aiter(aio(talk).pieces(servers.BOX))
        assert str(await anext(pieces)) == "on"
        return pieces

    # A loop of a program, which does not close its generators.
    loop = asyncio.new_event_loop()
    kept = loop.run_until_complete(main())
    loop.close()
    closed.set()
    assert ended.wait(60)
    assert isinstance(heard[0], DeadlineExceeded)
    del kept
    gc.collect()


def test_pieces_awaited_only() -> None:
    box = made()

    async def main() -> object:
        return await aio(exec("echo x")).pieces(box)

    assert asyncio.run(main()) == Success(ExecResult("x\n", "", 0))


def test_pieces_of_a_failure() -> None:
    async def main() -> tuple[list[Piece], object]:
        pieces = aio(exec("ls")).pieces(Failure(NotLoggedIn()))
        seen = [piece async for piece in pieces]
        with pytest.raises(RuntimeError, match="read once"):
            _ = [piece async for piece in pieces]
        return seen, await pieces

    assert asyncio.run(main()) == ([], Failure(NotLoggedIn()))


# fan_out


def test_fan_out_prints_lines(capsys: pytest.CaptureFixture[str]) -> None:
    """Each line comes after its target, whole, and an unfinished one at the end."""
    boxes = [made("one"), made("two")]
    line = "for n in 1 2 3; do printf x; sleep 0.05; echo $n; done; echo err >&2; printf end"
    results = fan_out(exec(line), boxes, on_output=True)
    assert [result.unwrap().stdout for result in results] == ["x1\nx2\nx3\nend"] * 2
    printed = capsys.readouterr()
    for name in ("one", "two"):
        mine = [each for each in printed.out.splitlines() if each.startswith(name)]
        assert mine == [f"{name} | x1", f"{name} | x2", f"{name} | x3", f"{name} | end"]
        assert f"{name} | err\n" in printed.err
    assert len(printed.out.splitlines()) == 8


def test_fan_out_on_output_function() -> None:
    """A function gets the target, without its Result, and the piece."""
    boxes = [made("one"), made("two")]
    seen: list[tuple[str, str]] = []
    with ThreadPoolExecutor(2) as pool:
        targets: list[Any] = [Success(boxes[0]), boxes[1]]
        results = fan_out(
            exec("echo x"), targets, executor=pool, on_output=lambda box, piece: seen.append((box.name, piece.text))
        )
    assert [result.unwrap().stdout for result in results] == ["x\n", "x\n"]
    assert sorted(seen) == [("one", "x\n"), ("two", "x\n")]


def test_fan_out_on_output_refuses() -> None:
    wrong: Any = fan_out
    with pytest.raises(TypeError, match="on_output"):
        wrong(start, [], on_output=3)
    with ProcessPoolExecutor(1) as pool, pytest.raises(ValueError, match="threads only"):
        fan_out(start, [], executor=pool, on_output=True)


# The listener


def test_listening_nests() -> None:
    outer: list[Piece] = []
    inner: list[Piece] = []
    piece = Piece("stdout", "x", 1)
    assert listener() is None
    with listening(outer.append):
        with listening(inner.append):
            heard = listener()
            assert heard is not None
            heard(piece)
        assert listener() is not None
        seen: list[object] = []
        other = threading.Thread(target=lambda: seen.append(listener()))
        other.start()
        other.join()
        assert seen == [None]
    assert (outer, inner) == ([], [piece])
    assert listener() is None


def test_listening_off_by_false() -> None:
    """on_output=False is a plain exec, in a listening block too."""
    box, heard = made(), list[Piece]()
    with listening(heard.append):
        assert (box | exec("echo x", on_output=False)).unwrap().stdout == "x\n"
        assert heard == []
        assert (box | exec("echo y")).unwrap().stdout == "y\n"
    assert "".join(map(str, heard)) == "y\n"


@pytest.mark.parametrize(
    ("target", "prefix"), [("a", "a | "), (3, "3 | "), ("x" * 99, f"{'x' * 39}… | "), (None, "None | ")]
)
def test_prefixed_label(target: object, prefix: str, capsys: pytest.CaptureFixture[str]) -> None:
    printed = prefixed(target)
    printed(Piece("stdout", "1\n2", 3))
    printed.close()
    out = capsys.readouterr().out.splitlines()
    assert [line[-1] for line in out] == ["1", "2"]
    assert all(line.startswith(prefix[:20]) and len(line) < 60 for line in out)
