"""The file system of a box: the sandbox's own folder as its root, the system's directories read-only in it.

Nothing of the home, of /tmp, /var, /opt, /srv or /run of this machine is in a box. Of /etc only those files are that
other users of this machine may read.
"""

import contextlib
import errno
import functools
import os
import posixpath
import stat
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

# The paths of the interpreter and the agent in a box.
PYTHON = "/run/pocketenv/python"
LIBRARY = "/run/pocketenv/library"
# The directories that every sandbox has from the start, writable.
OWN = ("workspace", "root", "home", "tmp", "app", "data", "opt", "srv", "var/log", "var/tmp", "var/lib", "var/cache")
_SYSTEM = ("usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32", "nix", "gnu")
# The directories that bubblewrap makes in a box.
_KERNELS = ("proc", "dev", "run", "sys")
# The files and directories of /proc by which root sets the machine's kernel.
_SETTINGS = ("sys", "sysrq-trigger", "irq", "bus", "fs", "acpi", "scsi", "mtrr", "driver", "pressure", "slabinfo")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW


class Mount(NamedTuple):
    """A folder of this machine under an absolute path of the sandbox."""

    path: str
    source: Path
    read_only: bool = False


def prepare(root: Path) -> None:
    """Make the directories that every sandbox has. A link or a file in the place of one stays."""
    root.mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in OWN:
        with contextlib.suppress(OSError):
            os.close(_open_directory(root, name))


def attach(root: Path, mounts: Iterable[Mount]) -> None:
    """Link folders of this machine into a sandbox that has no box. Raises OSError where a path is taken."""
    for mount in sorted(mounts):
        parent, name = posixpath.split(mount.path.lstrip("/"))
        folder = _open_directory(root, parent, replacing=True)
        try:
            if (mode := _mode(folder, name)) is not None:
                remove = os.unlink if stat.S_ISLNK(mode) else os.rmdir
                remove(name, dir_fd=folder)
            os.symlink(mount.source, name, dir_fd=folder)
        finally:
            os.close(folder)


def link_targets(root: Path, mounts: Iterable[Mount]) -> dict[str, str]:
    """Return the folder of each mount by the path of the link that `attach` makes for it."""
    real = os.path.realpath(root)
    return {posixpath.join(real, mount.path.lstrip("/")): str(mount.source) for mount in mounts}


def system_path(path: str) -> str | None:
    """Return the path as the system spells it where the system lends its directory, None elsewhere."""
    first, _, rest = posixpath.normpath(posixpath.join("/workspace", path)).lstrip("/").partition("/")
    if first not in _SYSTEM or not Path(f"/{first}").is_dir():
        return None
    return posixpath.join(os.path.realpath(f"/{first}"), rest).rstrip("/")


class _Place(NamedTuple):
    """A path of the system in a box: its mount, or the target of its link."""

    path: str
    kind: Literal["directory", "file", "hidden", "link", "own"]
    target: str = ""


def furnish(root: Path, mounts: Iterable[Mount], reach: Iterable[str]) -> None:
    """Make the directories and links that a box needs in its root: mount points, and the links of the system.

    A command may have replaced any of them by a link. Without a box, that link leads to this machine. So no link is
    followed. A link in the way of a mount is removed, and a file in its way is renamed.
    """
    for path in (*_KERNELS, *(mount.path for mount in mounts)):
        os.close(_open_directory(root, path, replacing=True))
    for place in _places(_ancestors(reach)):
        parent, name = posixpath.split(place.path)
        is_inside = place.kind in {"directory", "own"}
        folder = _open_directory(root, place.path if is_inside else parent, replacing=place.kind != "link")
        try:
            if place.kind == "link" and _mode(folder, name) is None:
                os.symlink(place.target, name, dir_fd=folder)
            elif place.kind == "file":
                _make_file(folder, name)
        finally:
            os.close(folder)


def mounted(root: Path, mounts: Iterable[Mount], reach: Iterable[str]) -> list[str]:
    """Return bubblewrap's arguments for a box whose root is as `furnish` makes it."""
    arguments = ["--bind", str(root), "/"]
    for place in _places(_ancestors(reach)):
        if place.kind in {"directory", "file"}:
            arguments += ["--ro-bind", place.path, place.path]
        elif place.kind == "hidden":
            arguments += _hidden(Path(place.path))
    arguments += ["--proc", "/proc", *_read_only_settings(), "--dev", "/dev", "--tmpfs", "/run"]
    if Path("/sys").is_dir():
        arguments += ["--ro-bind", "/sys", "/sys"]
    arguments += [*_resolver(), *_interpreter(), "--ro-bind", str(Path(__file__).parent / "agent"), f"{LIBRARY}/agent"]
    for mount in sorted(mounts):
        arguments += ["--ro-bind" if mount.read_only else "--bind", str(mount.source), mount.path]
    return [*arguments, "--hostname", "sandbox", "--chdir", "/"]


def _read_only_settings() -> Iterator[str]:
    # Root may write the settings of the machine's kernel here, in any namespace. Bubblewrap covers only those
    # that access(2) calls writable, which /proc/sys is not.
    if os.geteuid() == 0:
        for name in _SETTINGS:
            if Path(f"/proc/{name}").exists():
                yield from ("--ro-bind", f"/proc/{name}", f"/proc/{name}")


def _open_directory(root: Path, path: str, *, replacing: bool = False) -> int:
    """Open a directory of a sandbox, make missing ones, and return its descriptor. No link is followed.

    With ``replacing``, a directory replaces a link or a file on the way. Raises OSError.
    """
    folder = os.open(root, _DIRECTORY)
    for name in filter(None, path.split("/")):
        try:
            inner = _enter(folder, name, replacing=replacing)
        finally:
            os.close(folder)
        folder = inner
    return folder


def _enter(folder: int, name: str, *, replacing: bool) -> int:
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=folder)
    try:
        return os.open(name, _DIRECTORY, dir_fd=folder)
    except OSError as error:
        if not replacing or error.errno not in {errno.ENOTDIR, errno.ELOOP}:
            raise
    if stat.S_ISLNK(_mode(folder, name) or 0):
        os.unlink(name, dir_fd=folder)
    else:
        os.rename(name, f"{name}.{os.urandom(4).hex()}", src_dir_fd=folder, dst_dir_fd=folder)
    os.mkdir(name, 0o755, dir_fd=folder)
    return os.open(name, _DIRECTORY, dir_fd=folder)


def _make_file(folder: int, name: str) -> None:
    # A mount point for a file. Bubblewrap would make it through a link.
    if stat.S_ISLNK(_mode(folder, name) or 0):
        os.unlink(name, dir_fd=folder)
    with contextlib.suppress(FileExistsError):
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644, dir_fd=folder))


def _mode(folder: int, name: str) -> int | None:
    """Return the mode of an entry, or of the link itself. None without an entry."""
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return None


def python_at(prefix: str) -> str:
    """Return the path of the interpreter in a box. `prefix` is its mount point if the system does not have it."""
    real = Path(os.path.realpath(sys.executable))
    if not _needs_mount():
        return str(real)
    return str(Path(prefix) / real.relative_to(os.path.realpath(sys.base_prefix)))


# Read here, since two boxes may boot at once: the first call from one of two threads may return nothing.
_LIBRARIES = sysconfig.get_config_var("LIBDIR") or ""


def _needs_mount() -> bool:
    return not Path(os.path.realpath(sys.executable)).is_relative_to("/usr")


def _interpreter() -> list[str]:
    if not _needs_mount():
        return []
    # An interpreter with a shared library remembers where that was.
    library = posixpath.join(PYTHON, os.path.relpath(_LIBRARIES, sys.base_prefix))
    base = os.path.realpath(sys.base_prefix)
    return ["--ro-bind", base, PYTHON, "--setenv", "LD_LIBRARY_PATH", posixpath.normpath(library)]


def _resolver() -> list[str]:
    # The file that names the resolvers is often a link into /run. In a box /run is not this machine's.
    real = os.path.realpath("/etc/resolv.conf")
    return [] if real.startswith("/etc/") or not Path(real).is_file() else ["--ro-bind", real, real]


def _ancestors(paths: Iterable[str]) -> set[str]:
    """Return these directories of this machine, and all directories above them."""
    return {
        str(parent)
        for path in paths
        for parent in (Path(path), *Path(path).parents)
        if parent.is_dir() and not parent.is_symlink()
    }


def _places(opened: set[str]) -> Iterator[_Place]:
    for name in _SYSTEM:
        source = Path("/") / name
        if source.is_symlink():
            yield _Place(str(source), "link", str(source.readlink()))
        elif source.is_dir():
            yield from _system(source, opened)


def _system(source: Path, opened: set[str]) -> Iterator[_Place]:
    if str(source) not in opened:
        yield _Place(str(source), "directory")
        yield from (_Place(str(hidden), "hidden") for hidden in _unreadable(source))
        return
    # This directory accepts new names: it is the sandbox's own, and the system's entries are mounted or
    # linked one by one.
    yield _Place(str(source), "own")
    for entry in sorted(source.iterdir()):
        if entry.is_symlink():
            yield _Place(str(entry), "link", str(entry.readlink()))
        elif entry.is_dir():
            if _others_read(entry):
                yield from _system(entry, opened)
        elif entry.is_file() and _others_read(entry):
            yield _Place(str(entry), "file")


@functools.cache
def _unreadable(source: Path) -> tuple[Path, ...]:
    if source != Path("/etc"):
        return ()
    paths: list[Path] = []
    for folder, names, files in os.walk(source):
        for name in sorted([*names, *files]):
            path = Path(folder) / name
            if not path.is_symlink() and not _others_read(path):
                paths.append(path)
        names[:] = [name for name in names if Path(folder) / name not in paths]
    return tuple(paths)


def _hidden(path: Path) -> tuple[str, ...]:
    return ("--tmpfs", str(path)) if path.is_dir() else ("--ro-bind", os.devnull, str(path))


def _others_read(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    bits = stat.S_IROTH | (stat.S_IXOTH if stat.S_ISDIR(mode) else 0)
    return mode & bits == bits
