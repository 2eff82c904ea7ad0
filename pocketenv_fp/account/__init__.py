"""Log in to Pocketenv and out of it: `login`, `logout`, `whoami`.

A login is an AT Protocol (Bluesky) account. Its token is kept in ``~/.pocketenv/token.json``, where `pocketenv_fp.config`
finds it. ``python -m pocketenv_fp login HANDLE`` does the same from a terminal.

>>> from pocketenv_fp import whoami
>>> whoami().map(lambda profile: profile.handle)
<Success: you.localhost>
"""

from pocketenv_fp.account.logins import login, logout, whoami

__all__ = ["login", "logout", "whoami"]
