"""Integrations: the platform declares their two methods and keeps nothing behind them."""

from typing import Any

from pocketenv_fp.local.call import NOTHING, Call


async def answer(_call: Call) -> Any:
    """Answer `{}`, whatever was asked."""
    return NOTHING
