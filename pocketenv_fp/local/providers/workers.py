"""The nine providers that start a shell for each command, as one table.

Variables and secrets do not reach their commands. Facts that are not known for sure are marked as guesses.
"""

from typing import Any, NamedTuple

from pocketenv_fp.local.call import World, iso, now, server_error
from pocketenv_fp.local.machine import LIMITED, Finished, Lost, Machine, Refused
from pocketenv_fp.local.sandboxes import CLOUDFLARE, Sandbox

SPRITES_BYTES = 10 * 1024 * 1024
_ENVIRONMENT = {"LANG": "C.UTF-8"}


# The words that start a command, with {} in its place.
_BASH = ("bash", "-c", "{}")
_SH = ("sh", "-c", "{}")
# Without quotes: the outer shell expands the command first.
_WORD = ("bash", "-l", "-c", "bash -c {}")
# A guess: it could be a word splitter instead of a shell.
_WORD_OF_SH = ("sh", "-c", "bash -c {}")
_DOUBLE = ("bash", "-c", 'bash -c "{}"')


class Provider(NamedTuple):
    """One provider.

    `words` start a command. `directory` is its working directory, and `home` its home. `merged`:
    stderr goes to stdout, and the answer has no `stderr`. `seconds` and `most_bytes` (of one output) are limits of a
    command: above them is a server error. `fails`: an exit code other than 0 is one too. `has_extra_keys`: the answer
    has keys of the provider's own library. `keeps_files`: a stop leaves the files, and with `runs_on` the processes too.
    `refuses_stopped`: a command in a stopped sandbox is a server error.
    """

    name: str
    words: tuple[str, ...] = _BASH
    home: str = "/root"
    directory: str = "/root"
    merged: bool = False
    seconds: float | None = None
    most_bytes: int | None = None
    fails: bool = False
    has_extra_keys: bool = False
    keeps_files: bool = False
    runs_on: bool = False
    refuses_stopped: bool = False


_PROVIDERS = {
    each.name: each
    for each in (
        Provider(CLOUDFLARE, directory="/workspace"),
        # Guesses: that its shell is bash, that stderr is merged, and that a stopped one runs nothing.
        Provider(
            "daytona",
            home="/home/daytona",
            directory="/home/daytona",
            merged=True,
            keeps_files=True,
            refuses_stopped=True,
        ),
        # A guess: the directory of this one, of e2b, of blaxel and of runloop.
        Provider("deno", _SH),
        Provider("vercel", _SH, home="/vercel/sandbox", directory="/vercel/sandbox", has_extra_keys=True),
        Provider(
            "sprites",
            home="/home/sprite",
            directory="/home/sprite",
            most_bytes=SPRITES_BYTES,
            keeps_files=True,
            runs_on=True,
        ),
        Provider("modal", home="/home/modal", directory="/home/modal", has_extra_keys=True),
        Provider("e2b", _WORD, seconds=60.0, fails=True),
        Provider("blaxel", _WORD_OF_SH),
        Provider("hopx", directory="/workspace", seconds=30.0, keeps_files=True),
        Provider("runloop", _DOUBLE),
    )
}


def provider(name: str) -> Provider:
    """Return the facts about a provider."""
    return _PROVIDERS[name]


async def execute(world: World, sandbox: Sandbox, command: str) -> dict[str, Any]:
    """Run a command in a shell of its own and return the answer of exec. Raises Refusal.

    The status is not checked. Where the sandbox is not there yet, or not any more, the command runs in a new empty one.
    """
    this = provider(sandbox.provider)
    if "\0" in command or (sandbox.stopped and this.refuses_stopped):
        raise server_error()
    machine = world.machine(sandbox.id)
    await _settle(machine, early=sandbox.status == "INITIALIZING")
    try:
        finished = await machine.run(
            [word.replace("{}", command) for word in this.words],
            _ENVIRONMENT,
            directory=this.directory,
            home=this.home,
            merged=this.merged,
            limit=this.seconds,
        )
    except (Lost, Refused):
        raise server_error() from None
    if this.fails and finished.exit_code != 0:
        raise server_error()
    if this.most_bytes is not None and max(len(finished.stdout), len(finished.stderr)) > this.most_bytes:
        raise server_error()
    return _answer(this, finished)


async def _settle(machine: Machine, *, early: bool) -> None:
    # A command that comes before the sandbox is ready gets a sandbox of its own. The one in the making replaces it.
    if machine.early and not early:
        machine.early = False
        await machine.halt()
        await machine.discard()
    machine.early = early


def _answer(this: Provider, finished: Finished) -> dict[str, Any]:
    limited = LIMITED if finished.limited else ""
    if this.merged:
        return {"stdout": finished.stdout + limited, "exitCode": finished.exit_code}
    answer = {"stdout": finished.stdout, "stderr": finished.stderr + limited, "exitCode": finished.exit_code}
    # The keys of its library are not known. This one shows that there are others.
    return {**answer, "startedAt": iso(now())} if this.has_extra_keys else answer
