"""gzip compression and decompression on worker threads.

zlib-ng is several times faster than the standard library, which is the fallback. Both release the GIL, so other threads
run at the same time. A stream is compressed in blocks, each with the end of the block before it as its dictionary. That
adds a hundredth to the size and uses every core. The output is one ordinary gzip member.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import struct
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING

from pocketenv_fp.errors import ArchiveError

__all__ = ["BLOCK", "engine", "engines", "expand", "shrink"]

BLOCK = 512 * 1024
LEVEL = 6

_PIECE = 64 * 1024
_WINDOW = 32 * 1024
_RAW, _GZIP = -15, 31
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_MAGIC = _HEADER[:2]
# An empty block, marked as the last one.
_LAST = b"\x03\x00"
_THREADS = max(1, min(4, os.cpu_count() or 1))


def engines() -> dict[str, ModuleType]:
    """Return the installed engines, the fastest first."""
    available: dict[str, ModuleType] = {}
    for name in ("zlib_ng.zlib_ng", "zlib"):
        with contextlib.suppress(ImportError):
            available[name] = importlib.import_module(name)
    return available


if TYPE_CHECKING:
    import zlib as engine  # what is used of both is the same
else:
    engine = next(iter(engines().values()))


def shrink(blocks: Generator[bytearray]) -> Generator[bytes]:
    """Compress blocks of about BLOCK bytes. Closing the iterator early closes ``blocks`` and ends the threads."""
    pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="pocketenv-archive")
    held, length = [_HEADER], len(_HEADER)
    try:
        for piece in _deflated(blocks, pool):
            held.append(piece)
            length += len(piece)
            if length >= _PIECE:
                yield b"".join(held)
                held, length = [], 0
        if held:
            yield b"".join(held)
    finally:
        blocks.close()
        pool.shutdown(cancel_futures=True)


def _deflated(blocks: Generator[bytearray], pool: ThreadPoolExecutor) -> Generator[bytes]:
    waiting: deque[Future[bytes]] = deque()
    crc, size, window = 0, 0, bytearray()
    for block in blocks:
        crc, size = engine.crc32(block, crc), size + len(block)
        waiting.append(pool.submit(_deflate, block, window))
        window = block[-_WINDOW:]
        # One more block waits than there are workers, so that a slow disk or network stops neither.
        if len(waiting) > 2 * _THREADS:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
    yield _LAST + struct.pack("<II", crc, size & 0xFFFFFFFF)


def expand(read: Callable[[int], bytes]) -> Generator[bytes]:
    """Decompress the bytes of ``read`` in blocks of at most BLOCK bytes. The next block is made in the background.

    Raises ArchiveError for anything but whole gzip members up to the very end. ``read`` is called on the caller's
    thread, and its exceptions pass through.
    """
    with ThreadPoolExecutor(1, thread_name_prefix="pocketenv-archive") as pool:
        data = _member(read, b"")
        if not data:
            raise ArchiveError("the archive is empty")
        inflater = engine.decompressobj(_GZIP)
        making: Future[bytes] | None = pool.submit(inflater.decompress, data, BLOCK)
        while making is not None:
            try:
                block = making.result()
            except engine.error:
                raise ArchiveError("the archive is damaged: gzip does not understand it") from None
            if inflater.eof:
                data = _member(read, inflater.unused_data)
                inflater = engine.decompressobj(_GZIP)
                making = pool.submit(inflater.decompress, data, BLOCK) if data else None
            else:
                held = inflater.unconsumed_tail
                was_last, data = not data and not held, held or read(_PIECE)
                if was_last and not data and not block:
                    raise ArchiveError("the archive breaks off")
                making = pool.submit(inflater.decompress, data, BLOCK)
            if block:
                yield block


def _member(read: Callable[[int], bytes], data: bytes) -> bytes:
    # Return the beginning of the next gzip member, or nothing where the archive ends.
    while len(data) < len(_MAGIC) and (more := read(_PIECE)):
        data += more
    if data and data[: len(_MAGIC)] != _MAGIC:
        raise ArchiveError("the archive is not gzip, or has something behind its end")
    return data


def _deflate(block: bytearray, window: bytearray) -> bytes:
    # Flushed to whole bytes: so the blocks can be concatenated.
    deflater = engine.compressobj(LEVEL, engine.DEFLATED, _RAW, engine.DEF_MEM_LEVEL, engine.Z_DEFAULT_STRATEGY, window)
    return deflater.compress(block) + deflater.flush(engine.Z_SYNC_FLUSH)
