"""File operations inside a sandbox, where its paths have the sandbox's meaning.

`root` is `/` in a box. Without a box it is the sandbox's folder, and absolute paths of the platform lie below it.
Nothing is read or written through a link that leads out of it. The links that stand for volumes are the exception:
`volumes` maps the path of each to its folder.
"""

import os
import posixpath
from collections.abc import Mapping

# They lie beside the path that they replace and are never packed.
DRAFT = ".pocketenv-draft-"


class WorkError(Exception):
    """An operation cannot be done. The message names the reason and no content."""


def place(root: str, path: str, volumes: Mapping[str, str]) -> str:
    """Return where a path of the platform (absolute, or relative to /workspace) lies. Raises WorkError."""
    if "\0" in path:
        raise WorkError("a NUL in the path")
    inside = posixpath.normpath(posixpath.join("/workspace", path)).lstrip("/")
    real = os.path.realpath(os.path.join(root, inside))
    own = (os.path.realpath(folder) for folder in (root, *volumes.values()))
    if not any(os.path.commonpath([folder, real]) == folder for folder in own):
        raise WorkError("a link leads out of the sandbox")
    return real


def draft_in(folder: str) -> str:
    """Return a name that is free."""
    return os.path.join(folder, DRAFT + os.urandom(16).hex())


def reason(error: BaseException) -> str:
    """Return the words for an error. They hold no content of a file."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) if isinstance(error, WorkError) else type(error).__name__


def write(root: str, path: str, volumes: Mapping[str, str], content: bytes, mode: int) -> None:
    """Write a file. A reader sees the old one or the new one, whole."""
    target = place(root, path, volumes)
    # A directory that holds a private file is private too.
    os.makedirs(os.path.dirname(target), 0o755 if mode & 0o077 else 0o700, exist_ok=True)
    draft = draft_in(os.path.dirname(target))
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        os.chmod(draft, mode)
        os.replace(draft, target)
    except BaseException:
        if os.path.lexists(draft):
            os.unlink(draft)
        raise


def sweep(root: str) -> None:
    """Remove all drafts that a crash left."""
    for folder, names, files in os.walk(root):
        for name in [*names, *files]:
            if name.startswith(DRAFT):
                remove(os.path.join(folder, name))


def is_directory(path: str) -> bool:
    """Return whether this is a directory itself, and no link to one."""
    return os.path.isdir(path) and not os.path.islink(path)


def remove(path: str) -> None:
    """Remove a file or a whole tree, also where a directory forbids it."""
    if not is_directory(path):
        os.unlink(path)
        return
    os.chmod(path, 0o700)
    for name in os.listdir(path):
        remove(os.path.join(path, name))
    # A mount point there cannot be removed. It is empty now.
    try:
        os.rmdir(path)
    except OSError:
        if os.listdir(path):
            raise
