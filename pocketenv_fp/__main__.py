"""`python -m pocketenv_fp demo`: run a small pipeline on the embedded platform, and print its source and its result."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from returns.result import Success

from pocketenv_fp import Config, ephemeral, exec, local, start, stdout, using

PIPELINE = ephemeral(start | exec("python3 -c", ["print(6 * 7)"], check=True) | stdout.map(int))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the named command. Returns the exit code: 0 for a Success, 1 for a Failure or a missing package."""
    parser = argparse.ArgumentParser(prog="python -m pocketenv_fp", description="Pocketenv as typed pipelines.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("demo", help="run a pipeline on a platform inside this process; it needs no account")
    parser.parse_args(arguments)
    return demo()


def demo() -> int:
    """Run `PIPELINE` in a sandbox of an embedded platform of its own. Returns the exit code."""
    try:
        platform = local.platform()
    except ModuleNotFoundError as missing:
        sys.stderr.write(f"pocketenv: {missing}\n")
        return 1
    # Every field, so that no variable of the caller's leads to another platform.
    config = Config(
        api_url=platform.url,
        storage_url=platform.storage_url,
        public_key=platform.public_key,
        token=platform.token,
    )
    with platform, using(config):
        sys.stdout.write(f"{PIPELINE}\n")
        result = PIPELINE("demo")
        sys.stdout.write(f"{result}\n")
    return 0 if isinstance(result, Success) else 1


if __name__ == "__main__":
    sys.exit(main())
