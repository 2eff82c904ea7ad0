"""`python -m pocketenv_fp.local`: serve the platform until Ctrl-C.

Prints four `export` lines on standard output, so that `eval` or `source` takes them.
"""

import argparse
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from types import FrameType

from pocketenv_fp.local import platform


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code: 0 after an orderly end, 1 where the platform could not start."""
    given = _parser().parse_args(arguments)
    ended = threading.Event()

    def end(_signal: int, _frame: FrameType | None) -> None:
        ended.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    try:
        running = platform(data=given.data, boot_delay=given.boot_delay, rate_limit=given.rate_limit, port=given.port)
    except OSError as error:
        sys.stderr.write(f"pocketenv: cannot serve on 127.0.0.1:{given.port}: {error}\n")
        return 1
    with running:
        for name, value in running.environment.items():
            sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
        sys.stdout.flush()
        kept = running.data if given.data else "a temporary folder"
        sys.stderr.write(
            f"pocketenv: serving on {running.url}, state in {kept}, isolation {running.isolation!r}"
            " (no security boundary); Ctrl-C ends it\n"
        )
        sys.stderr.flush()
        ended.wait()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pocketenv_fp.local", description="The platform on this machine.")
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--data", help="folder that keeps the state (default: a temporary one)")
    parser.add_argument(
        "--boot-delay", type=float, default=0.0, metavar="S", help="seconds a new sandbox needs to boot"
    )
    parser.add_argument("--rate-limit", type=int, metavar="N", help="requests in 30 seconds (the platform's own: 500)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
