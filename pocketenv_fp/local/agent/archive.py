"""Directories as tar.gz and back.

A module of its own, and loaded only where it is needed: `tarfile` takes as long as a third of an agent's start.
"""

import os
import posixpath
import shutil
import stat
import tarfile
from collections.abc import Mapping
from typing import IO

from .file_operations import DRAFT, WorkError, draft_in, is_directory, place, remove

FASTEST = 1


def pack(root: str, path: str, volumes: Mapping[str, str], archive: int) -> bool:
    """Write a directory as tar.gz, volumes in it as directories. Return whether there is such a directory."""
    source = place(root, path, volumes)
    if not os.path.isdir(source):
        return False
    inside = {
        os.path.join(".", os.path.relpath(link, source)): volumes[link] for link in volumes if _below(link, source)
    }
    with os.fdopen(archive, "wb") as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=FASTEST) as tar:
        tar.add(source, arcname=".", filter=lambda member: None if member.name in inside else _packed(member))
        for name, folder in inside.items():
            tar.add(folder, arcname=name, filter=_packed)
    return True


def _below(link: str, folder: str) -> bool:
    return os.path.islink(link) and os.path.commonpath([folder, link]) == folder


def unpack(root: str, path: str, volumes: Mapping[str, str], archive: int, exact: bool) -> None:  # noqa: FBT001 - as the request has it
    """Unpack a tar.gz into a directory, each entry whole. With `exact` nothing else is in it afterwards."""
    target = place(root, path, volumes)
    new = not os.path.isdir(target)
    # Unpacked into a draft first: an archive that is damaged or refused must not damage the directory.
    draft = draft_in(os.path.dirname(target) if new else target)
    try:
        os.makedirs(draft)
        with os.fdopen(archive, "rb") as file:
            directories = _extract(file, draft)
        if not new:
            if exact:
                _empty(target, draft, volumes)
            _merge(draft, target, volumes)
        # Set last, and from the leaves up: a directory that forbids writing is filled by then.
        for name, mode in reversed(directories):
            os.chmod(os.path.join(draft if new else target, name), mode)
        if new:
            os.rename(draft, target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def _empty(target: str, draft: str, volumes: Mapping[str, str]) -> None:
    for name in os.listdir(target):
        there = os.path.join(target, name)
        if there in volumes and os.path.islink(there):
            _empty(volumes[there], draft, volumes)
        elif there != draft:
            remove(there)


def _packed(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if os.path.basename(member.name).startswith(DRAFT):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


def _extract(file: IO[bytes], target: str) -> list[tuple[str, int]]:
    directories: list[tuple[str, int]] = []
    with tarfile.open(fileobj=file, mode="r|gz") as tar:
        # Checked here, so that the rule is the same on all versions of Python.
        tar.extraction_filter = _as_it_is
        for member in tar:
            mode = stat.S_IMODE(member.mode)
            _admit(member, target)
            if member.isdir():
                directories.append((member.name, mode))
                os.makedirs(os.path.join(target, member.name), mode=0o700, exist_ok=True)
            else:
                tar.extract(member, target)
    return directories


def _as_it_is(member: tarfile.TarInfo, _target: str) -> tarfile.TarInfo:
    return member


def _admit(member: tarfile.TarInfo, target: str) -> None:
    name = posixpath.normpath(member.name.lstrip("/")) if member.name.strip("/") else "."
    if name == ".." or name.startswith("../"):
        raise WorkError("an entry outside the archive's directory")
    member.name = name
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise WorkError("an entry that is no file, directory or link")
    # Through a link that came before, an entry could be written anywhere.
    inside = os.path.realpath(
        os.path.join(target, name) if member.isdir() else os.path.dirname(os.path.join(target, name))
    )
    if member.islnk():
        member.linkname = posixpath.normpath(member.linkname.lstrip("/"))
        link_target = os.path.realpath(os.path.join(target, member.linkname))
        if os.path.commonpath([target, link_target]) != target:
            raise WorkError("a hard link to something outside the archive")
    if os.path.commonpath([target, inside]) != target:
        raise WorkError("an entry behind a link that leads outside")
    member.uid, member.gid = os.geteuid(), os.getegid()
    member.uname = member.gname = ""


def _merge(source: str, target: str, volumes: Mapping[str, str]) -> None:
    for name in os.listdir(source):
        here, there = os.path.join(source, name), os.path.join(target, name)
        if is_directory(here) and os.path.islink(there):
            there = volumes.get(there, there)
        if is_directory(here) and is_directory(there):
            mode = stat.S_IMODE(os.stat(there).st_mode)
            # A directory that forbids its owner to write has to be filled all the same.
            os.chmod(there, mode | stat.S_IRWXU)
            _merge(here, there, volumes)
            os.chmod(there, mode)
            continue
        if is_directory(here) != is_directory(there) and os.path.lexists(there):
            remove(there)
        try:
            os.replace(here, there)
        except OSError:
            # A volume, or a file that the system lends: another file system under the same name.
            _copy(here, there, volumes)


def _copy(here: str, there: str, volumes: Mapping[str, str]) -> None:
    if is_directory(here):
        os.makedirs(there, exist_ok=True)
        _merge(here, there, volumes)
        return
    draft = draft_in(os.path.dirname(there))
    shutil.copy2(here, draft, follow_symlinks=False)
    os.replace(draft, there)
