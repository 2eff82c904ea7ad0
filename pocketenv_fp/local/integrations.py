"""Integrations: the platform declares two methods and stores nothing."""

from typing import Any

from pocketenv_fp.local.call import NOTHING, Call


async def answer(_call: Call) -> Any:
    """Answer `{}` to every request."""
    return NOTHING
