"""`python -m pocketenv_fp.local`: serve the platform until Ctrl-C.

Prints four `export` lines on standard output, so that `eval` or `source` takes them, and a line for each request on
standard error.
"""

import argparse
import errno
import math
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pocketenv_fp.local import platform

if TYPE_CHECKING:
    from pocketenv_fp.local.server import Platform

_UNITS = {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command. Return the exit code: 0 after an orderly end, 1 where the platform could not start."""
    options = _parser().parse_args(arguments)
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda _number, _frame: ended.set())
    try:
        server = _start(options)
    except ModuleNotFoundError as missing:
        return _fail(str(missing))
    except OSError as error:
        if error.errno in {errno.EADDRINUSE, errno.EACCES}:
            return _fail(f"cannot serve on 127.0.0.1:{options.port}: {error.strerror}; --port 0 takes any free port")
        return _fail(f"cannot start: {error}")
    with server:
        _serve(server, options, ended)
    return 0


def _start(options: argparse.Namespace) -> "Platform":
    # Imported here, like the platform itself: a message about a wrong option should not need a web server.
    from pocketenv_fp.local.box import Limits

    limited = {name: getattr(options, name) for name in Limits._fields}
    return platform(
        data=options.data,
        boot_delay=options.boot_delay,
        rate_limit=options.rate_limit,
        port=options.port,
        isolation=options.isolation,
        network=options.network,
        container=options.container,
        exec_seconds=options.exec_seconds,
        limits=Limits(**{name: value for name, value in limited.items() if value is not None}),
    )


def _serve(server: "Platform", options: argparse.Namespace, ended: threading.Event) -> None:
    from pocketenv_fp.local.request_log import Log

    folder = server.data if options.data else "a temporary folder"
    sys.stderr.write(
        f"pocketenv: serving on {server.url}, state in {folder}, isolation {server.isolation!r}"
        " (no security boundary); Ctrl-C ends it\n"
    )
    sys.stderr.flush()
    log = None if options.quiet else Log(sys.stderr, colour=_has_colours())
    server.listen(log)
    # Written last: a program that reads them may send a request at once.
    for name, value in server.environment.items():
        sys.stdout.write(f"export {name}={shlex.quote(value)}\n")
    sys.stdout.flush()
    ended.wait()
    server.listen(None)
    if log is not None and not log.close():
        # A thread hangs in the middle of a line. Python would wait for it to flush the rest.
        sys.stderr = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115  # it is open as long as Python runs


def _fail(message: str) -> int:
    sys.stderr.write(f"pocketenv: {message}\n")
    return 1


def _has_colours() -> bool:
    return sys.stderr.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m pocketenv_fp.local", description="The platform on this machine.")
    parser.add_argument("--port", type=_port, default=0, help="port on 127.0.0.1 (default: any free one)")
    parser.add_argument("--data", help="folder that keeps the state (default: a temporary one)")
    parser.add_argument(
        "--boot-delay", type=_seconds, default=0.0, metavar="S", help="seconds a new sandbox needs to boot"
    )
    parser.add_argument(
        "--rate-limit", type=_number, metavar="N", help="requests in 30 seconds (the platform's own: 500)"
    )
    parser.add_argument(
        "--isolation",
        choices=("bubblewrap", "processes"),
        help="how sandboxes are kept apart (default: the stronger one that works here)",
    )
    parser.add_argument(
        "--network",
        choices=("shared", "private"),
        default="shared",
        help="whether their servers answer on 127.0.0.1 (default: shared); private needs bubblewrap",
    )
    parser.add_argument(
        "--container",
        choices=("0.7.8", "0.7.18"),
        default="0.7.8",
        help="version of Cloudflare's container (default: 0.7.8, the platform's)",
    )
    parser.add_argument(
        "--exec-seconds",
        type=_seconds,
        default=300.0,
        metavar="S",
        help="time limit of a command on Cloudflare (default: 300, the platform's)",
    )
    limits = parser.add_argument_group("limits on the commands of each sandbox")
    limits.add_argument("--cpu-seconds", type=_number, metavar="N", help="processor time of a process")
    limits.add_argument("--memory-bytes", type=_bytes, metavar="SIZE", help="address space of a process, such as 512M")
    limits.add_argument("--processes", type=_number, metavar="N", help="processes at once")
    limits.add_argument("--output-bytes", type=_bytes, metavar="SIZE", help="output of a command (default: 40M)")
    parser.add_argument("--quiet", action="store_true", help="no line for each request")
    return parser


def _port(text: str) -> int:
    port = _number(text)
    if port > 65_535:
        raise argparse.ArgumentTypeError(f"{text} is more than 65535")
    return port


def _number(text: str) -> int:
    if not re.fullmatch(r"[0-9]{1,18}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds


def _bytes(text: str) -> int:
    """Parse a size: 1024, 64K, 512M, 2GiB. Units are powers of 1024."""
    match = re.fullmatch(r"([0-9]{1,15})([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 512M or 2G")
    return int(match[1]) << _UNITS[match[2].upper()]


if __name__ == "__main__":
    sys.exit(main())
