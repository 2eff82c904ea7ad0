"""What the wire form of a command costs: ``python -m tests.benchmarks.bench_exec``.

Each provider that the embedded platform plays runs ``true``, as a bare line and in the wire form, in turns of one call
each, so that a busy machine slows both alike. Both go over the same connection of the library. Then the bytes that the
form adds to the JSON body of a request.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial

import msgspec

from pocketenv_fp import Config, Sandbox, create, exec, local, using, wait_until_running
from pocketenv_fp.errors import raise_for
from pocketenv_fp.http.xrpc import decode, procedure, send
from pocketenv_fp.providers import provider_of
from pocketenv_fp.sandbox.commands.wire_form import Command, wire_form
from tests.benchmarks.rows import row, shorter

ROUNDS = shorter(100, 40)
PROVIDERS = ("cloudflare", "daytona", "deno", "vercel", "sprites", "modal", "e2b", "hopx", "runloop")
# Limits: the form starts a shell, and Daytona's starts two more.
AIMS = {"cloudflare": 2.5, "daytona": 4.0}
LINES = {
    "true": Command("true"),
    "80 characters with quotes": Command(
        "grep -rn 'it is \"quoted\"' src | sort -u | head -n 20 && echo done; test $? -eq 0 "
    ),
    "true, with a time limit": Command("true", timeout=20),
}


def bare(box: Sandbox, line: str) -> None:
    """Send a line as it is."""
    call = procedure("sandbox.exec", lambda body: decode(body, dict[str, object]), {"id": box.id}, {"command": line})
    raise_for(send(call))


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def body(command: str) -> int:
    return len(msgspec.json.encode({"command": command}))


def main() -> None:
    """Print both tables."""
    with (
        local.platform() as platform,
        using(
            Config(
                api_url=platform.url,
                storage_url=platform.storage_url,
                public_key=platform.public_key,
                token=platform.token,
            )
        ),
    ):
        print(f"one exec of `true`, median of {ROUNDS} in ms: bare, wire form, and the one in the other")
        for name in PROVIDERS:
            box = raise_for(create(f"bench-{name}", provider=name) | wait_until_running)
            # Unquoted, E2B's and Blaxel's `bash -c true` is right as it is.
            times = [(seconds(partial(bare, box, "true")), seconds(partial(exec, box, "true"))) for _ in range(ROUNDS)]
            alone, formed = (statistics.median(column) * 1000 for column in zip(*times, strict=True))
            print(f"  {name:12}{alone:8.2f}{formed:8.2f}   x {formed / alone:.2f}")
            if name in AIMS:
                row(f"exec of true in its wire form, {name}, to the bare line", formed / alone, aim=AIMS[name], floor=1)
    print("bytes that the form adds to a body")
    for text, command in LINES.items():
        sizes = {name: body(wire_form(command, provider_of(name)).unwrap()) - body(command.line) for name in PROVIDERS}
        print(f"  {text:28}{'  '.join(f'{name} {size}' for name, size in sizes.items())}")


if __name__ == "__main__":
    main()
