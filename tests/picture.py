"""Draw the README's picture: ``python -m tests.picture``. It needs Chromium.

The picture is what a notebook shows: the cells from the one that makes the pipeline ``ci`` to the one with its trace, with
the outputs that are kept in the notebook. Run ``python -m tests.notebooks`` first, if the library has changed.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import struct
import subprocess
import sys
import zlib
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from tests import notebooks

__all__ = ["PICTURE", "cells", "digest", "kept_digest", "page"]

NOTEBOOK = "01_first_sandbox"
PICTURE = notebooks.FOLDER / "picture.png"
WIDTH, HEIGHT, SCALE = 860, 575, 2
KEY = b"Source"
SHEET = """
body {margin:0; padding:14px 18px; background:#fff; color:#1f2328; font:14px system-ui,'DejaVu Sans',sans-serif}
pre.in {margin:10px 0 8px; padding:8px 12px; background:#f6f8fa; border:1px solid #d0d7de; border-radius:4px; white-space:pre-wrap;
  font:13px/1.5 ui-monospace,'DejaVu Sans Mono',monospace}
"""


def cells() -> list[notebooks.Cell]:
    """Return the picture's cells: the pipeline, its result and its trace."""
    whole = notebooks.cells(notebooks.read(NOTEBOOK))
    first = next(place for place, cell in enumerate(whole) if "\nci = " in cell["source"])
    return whole[first : first + 3]


def page() -> str:
    """Return the picture's cells as a page."""
    parts = [f"<!doctype html><meta charset='utf-8'><style>{SHEET}</style>"]
    for cell in cells():
        parts.append(f"<pre class='in'>{escape(cell['source'])}</pre>")
        parts += [output["data"]["text/html"] for output in cell["outputs"]]
    return "\n".join(parts)


def digest() -> str:
    """Return a digest of the cells and their outputs as text, without numbers: each run has other times."""
    texts = [text for cell in cells() for text in (cell["source"], *map(notebooks.text, cell["outputs"]))]
    return hashlib.sha256(re.sub(r"\d+", "0", "\n".join(texts)).encode()).hexdigest()


def kept_digest() -> str:
    """Return the digest of the page that the kept picture was drawn from."""
    found = re.search(KEY + rb"\0([0-9a-f]{64})", PICTURE.read_bytes())
    return found[1].decode() if found else ""


def _with_digest(png: bytes) -> bytes:
    # A text chunk before the last one, IEND.
    chunk = b"tEXt" + KEY + b"\0" + digest().encode()
    return png[:-12] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + png[-12:]


def main() -> None:
    """Draw the picture."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        sys.exit("the picture is drawn with Chromium, which is not installed")
    with TemporaryDirectory() as folder:
        source, drawn = Path(folder, "page.html"), Path(folder, "picture.png")
        source.write_text(page(), encoding="utf-8")
        flags = ["--headless", "--no-sandbox", "--hide-scrollbars", "--virtual-time-budget=3000"]
        flags.append(f"--force-device-scale-factor={SCALE}")
        subprocess.run(
            [browser, *flags, f"--window-size={WIDTH},{HEIGHT}", f"--screenshot={drawn}", source.as_uri()],
            env={"HOME": folder, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            timeout=60,
            check=True,
        )
        picture = _with_digest(drawn.read_bytes())
    for place in (PICTURE, notebooks.PAGES / PICTURE.name):
        place.write_bytes(picture)
        print(place)


if __name__ == "__main__":
    main()
