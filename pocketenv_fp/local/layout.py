"""What a box sees: the sandbox's own folder as its root, the system's directories read-only in it.

Nothing of the home, of /tmp, /var, /opt, /srv or /run of this machine is in a box, and nothing in /etc that other users
of this machine could not read.
"""

import functools
import os
import posixpath
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# Where the interpreter and the agent of a box are found in it.
PYTHON = "/run/pocketenv/python"
LIBRARY = "/run/pocketenv/library"
# What every sandbox has from the start, for itself and writable.
OWN = ("workspace", "root", "home", "tmp", "app", "data", "opt", "srv", "var/log", "var/tmp", "var/lib", "var/cache")
_SYSTEM = ("usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu")


class Mount(NamedTuple):
    """A folder of this machine under an absolute path of the sandbox."""

    path: str
    source: Path
    read_only: bool = False


def prepare(root: Path) -> None:
    """Make the directories that every sandbox has."""
    for name in OWN:
        (root / name).mkdir(mode=0o755, parents=True, exist_ok=True)


def attach(root: Path, mounts: Iterable[Mount]) -> None:
    """Link folders of this machine into a sandbox that has no box. Raises OSError where something is in the way."""
    for mount in sorted(mounts):
        link = root / mount.path.lstrip("/")
        link.parent.mkdir(parents=True, exist_ok=True)
        if link.is_symlink():
            link.unlink()
        elif link.is_dir():
            link.rmdir()
        link.symlink_to(mount.source)


def linked(root: Path, mounts: Iterable[Mount]) -> dict[str, str]:
    """The folder of each mount by the path of the link that `attach` makes for it."""
    real = os.path.realpath(root)
    return {posixpath.join(real, mount.path.lstrip("/")): str(mount.source) for mount in mounts}


def lent(path: str) -> str | None:
    """The path as the system spells it, where it lies in a directory that the system lends; None where it does not."""
    first, _, rest = posixpath.normpath(posixpath.join("/workspace", path)).lstrip("/").partition("/")
    if first not in _SYSTEM or not Path(f"/{first}").is_dir():
        return None
    return posixpath.join(os.path.realpath(f"/{first}"), rest).rstrip("/")


def mounted(root: Path, mounts: Iterable[Mount], reach: Iterable[str]) -> list[str]:
    """Bubblewrap's arguments for a box."""
    opened = _ancestors(reach)
    arguments = ["--bind", str(root), "/"]
    for name in _SYSTEM:
        source = Path("/") / name
        if source.is_symlink():
            _link(root / name, str(source.readlink()))
        elif source.is_dir():
            arguments += _system(root, source, opened)
    arguments += ["--proc", "/proc", "--dev", "/dev", "--tmpfs", "/run"]
    if Path("/sys").is_dir():
        arguments += ["--ro-bind", "/sys", "/sys"]
    arguments += [*_resolver(), *_interpreter(), "--ro-bind", str(Path(__file__).parent / "agent"), f"{LIBRARY}/agent"]
    for mount in sorted(mounts):
        arguments += ["--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.path]
    return [*arguments, "--hostname", "sandbox", "--chdir", "/"]


def python_at(prefix: str) -> str:
    """The path of the interpreter in a box; `prefix` is where it is mounted if the system does not have it."""
    real = Path(os.path.realpath(sys.executable))
    if not _needs_mount():
        return str(real)
    return str(Path(prefix) / real.relative_to(os.path.realpath(sys.base_prefix)))


# Asked for here, since two boxes may boot at once: its first answer to one of two threads may be empty.
_LIBRARIES = sysconfig.get_config_var("LIBDIR") or ""


def _needs_mount() -> bool:
    return not Path(os.path.realpath(sys.executable)).is_relative_to("/usr")


def _interpreter() -> list[str]:
    if not _needs_mount():
        return []
    # One that was built with a shared library remembers where that lay.
    library = posixpath.join(PYTHON, os.path.relpath(_LIBRARIES, sys.base_prefix))
    base = os.path.realpath(sys.base_prefix)
    return ["--ro-bind", base, PYTHON, "--setenv", "LD_LIBRARY_PATH", posixpath.normpath(library)]


def _resolver() -> list[str]:
    # The file that names the resolvers is often a link into /run, which is not this machine's in a box.
    real = os.path.realpath("/etc/resolv.conf")
    return [] if real.startswith("/etc/") or not Path(real).is_file() else ["--ro-bind", real, real]


def _ancestors(paths: Iterable[str]) -> set[str]:
    """The directories of this machine that lie on the way to these paths, they themselves included."""
    return {
        str(parent)
        for path in paths
        for parent in (Path(path), *Path(path).parents)
        if parent.is_dir() and not parent.is_symlink()
    }


def _system(root: Path, source: Path, opened: set[str]) -> Iterator[str]:
    if str(source) not in opened:
        yield from ("--ro-bind", str(source), str(source))
        for hidden in _unreadable(source):
            yield from _covered(hidden)
        return
    # New names are wanted here: the directory is the sandbox's own, and what the system has in it is mounted or
    # linked name by name.
    own = root / source.relative_to("/")
    own.mkdir(parents=True, exist_ok=True)
    for entry in sorted(source.iterdir()):
        if entry.is_symlink():
            _link(own / entry.name, str(entry.readlink()))
        elif entry.is_dir():
            if _others_read(entry):
                yield from _system(root, entry, opened)
        elif entry.is_file() and _others_read(entry):
            yield from ("--ro-bind", str(entry), str(entry))


@functools.cache
def _unreadable(source: Path) -> tuple[Path, ...]:
    if source != Path("/etc"):
        return ()
    found: list[Path] = []
    for folder, names, files in os.walk(source):
        for name in sorted([*names, *files]):
            path = Path(folder) / name
            if not path.is_symlink() and not _others_read(path):
                found.append(path)
        names[:] = [name for name in names if Path(folder) / name not in found]
    return tuple(found)


def _covered(path: Path) -> tuple[str, ...]:
    return ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind", os.devnull, str(path))


def _others_read(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    wanted = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & wanted == wanted


def _link(own: Path, target: str) -> None:
    if not os.path.lexists(own):
        own.parent.mkdir(parents=True, exist_ok=True)
        own.symlink_to(target)
