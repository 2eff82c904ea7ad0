"""Git repositories in sandboxes."""

import asyncio
import contextlib
import os
import shlex
import subprocess
import tempfile
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

from pocketenv_fp.local.agent import file_operations
from pocketenv_fp.local.blocking import aside
from pocketenv_fp.local.machine import Machine, Refused, remove_tree

CLONE_SECONDS = 20.0
# In the platform's folder. The next start removes it after a crash.
DRAFT = ".clone-"
_QUIET = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "true"}


async def clone(machine: Machine, repo: str | None) -> None:
    """Clone to /workspace/NAME, unless that path exists.

    A failed clone is no error of the start: the sandbox has no repository then. A slow one goes on after the answer.
    """
    name = Path((repo or "").rstrip("/").removesuffix(".git")).name
    if not repo or name in {"", ".", ".."}:
        return
    arriving = asyncio.ensure_future(_arrive(machine, repo, name))
    with contextlib.suppress(Refused, OSError, asyncio.TimeoutError):
        await asyncio.wait_for(asyncio.shield(arriving), CLONE_SECONDS)
    arriving.add_done_callback(lambda done: done.cancelled() or done.exception())


async def _arrive(machine: Machine, repo: str, name: str) -> None:
    environment = {"LANG": "C.UTF-8", **(machine.variables or {}), **_QUIET}
    if (await machine.run(["bash", "-c", f"test ! -e {shlex.quote(name)}"], environment)).exit_code != 0:
        return
    here = _path_on_this_machine(repo)
    if here is None:
        # Cloned into a draft first, which a start sweeps away: half a repository would never be cloned again.
        draft = file_operations.DRAFT + uuid.uuid4().hex
        line = f"git clone --quiet -- {shlex.quote(repo)} {draft} && mv {draft} {shlex.quote(name)}"
        await machine.run(["bash", "-c", line], environment)
        return
    # Imported here: `tarfile` would make the start of a platform longer.
    from pocketenv_fp.local.agent.archive import pack

    # A box does not see the rest of this machine: the clone is made outside and unpacked into it.
    with tempfile.TemporaryDirectory(prefix=DRAFT, dir=machine.folder.parent.parent) as folder:
        copy, archive = Path(folder) / name, Path(folder) / "archive"
        if await aside(_clone_here, here, copy):
            with archive.open("wb") as file:
                await aside(pack, "/", str(copy), {}, os.dup(file.fileno()))
            await machine.unpack(f"/workspace/{name}", archive)
        remove_tree(copy)


def _path_on_this_machine(repo: str) -> str | None:
    if repo.startswith("/"):
        return repo
    parts = urlsplit(repo)
    return unquote(parts.path) if parts.scheme == "file" and parts.netloc in {"", "localhost"} else None


def _clone_here(repo: str, target: Path) -> bool:
    environment = {"PATH": os.defpath, "HOME": str(target.parent), "LANG": "C.UTF-8", **_QUIET}
    # No hard links into the user's repository: changes of a sandbox stay in its copy.
    command = ["git", "clone", "--quiet", "--no-hardlinks", "--", repo, str(target)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, stdin=subprocess.DEVNULL, check=False)
    except OSError:
        return False
    return done.returncode == 0
