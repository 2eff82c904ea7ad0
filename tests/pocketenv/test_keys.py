"""Key pairs that are made here: OpenSSH accepts them, and the private one is never shown."""

from __future__ import annotations

import base64
import copy
import pickle
import shutil
import subprocess
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import load_ssh_private_key, load_ssh_public_key
from hypothesis import given, settings
from hypothesis import strategies as st

from pocketenv_fp import (
    InvalidInput,
    Sandbox,
    SshKey,
    SshKeyPair,
    Step,
    create,
    exec,
    generate_ssh_keys,
    get_ssh_keys,
    pocketenv,
    set_ssh_keys,
    start,
)
from pocketenv_fp.crypto import mask_ssh_private_key
from tests.examples import examples

KEYGEN = shutil.which("ssh-keygen")
needs_ssh_keygen = pytest.mark.skipif(KEYGEN is None, reason="ssh-keygen is not installed")


def ssh_keygen(*arguments: str) -> str:
    done = subprocess.run(
        ["ssh-keygen", *arguments], capture_output=True, check=True, text=True, timeout=60, stdin=subprocess.DEVNULL
    )
    return done.stdout.strip()


def stored(pair: SshKeyPair, folder: Path) -> str:
    private = folder / "id_ed25519"
    private.touch(mode=0o600)
    private.write_text(pair.private_key)
    (folder / "id_ed25519.pub").write_text(pair.public_key + "\n")
    return str(private)


@needs_ssh_keygen
@pytest.mark.parametrize("comment", ["", "me@example.org", "é with blanks"])
def test_generate_ssh_keys_ssh_keygen(comment: str, tmp_path: Path) -> None:
    """ssh-keygen derives the same public key from the private key."""
    pair = generate_ssh_keys(comment).unwrap()
    path = stored(pair, tmp_path)
    # OpenSSH adds the comment that the private key holds, which has none.
    assert ssh_keygen("-y", "-f", path).split()[:2] == pair.public_key.split()[:2]
    length, fingerprint, *said, kind = ssh_keygen("-l", "-f", f"{path}.pub").split()
    assert (length, kind) == ("256", "(ED25519)")
    assert fingerprint in ssh_keygen("-l", "-f", path)
    assert " ".join(said) == (comment or "no comment")


@needs_ssh_keygen
def test_generate_ssh_keys_signs(tmp_path: Path) -> None:
    """The public key verifies a signature of the private key."""
    pair, other = generate_ssh_keys("me").unwrap(), generate_ssh_keys("me").unwrap()
    message = tmp_path / "message"
    message.write_text("hello")
    ssh_keygen("-Y", "sign", "-f", stored(pair, tmp_path), "-n", "file", str(message))
    for public, verdict in ((pair.public_key, 0), (other.public_key, 255)):
        (tmp_path / "signers").write_text(f"me {public}\n")
        command = ["ssh-keygen", "-Y", "verify", "-f", "signers", "-I", "me", "-n", "file", "-s", "message.sig"]
        done = subprocess.run(
            command, input="hello", cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == verdict, done


def test_generate_ssh_keys_new_pair() -> None:
    """Each pair is new, and its two keys match."""
    pairs = [generate_ssh_keys().unwrap() for _ in range(3)]
    assert len({pair.private_key for pair in pairs}) == 3
    for pair in pairs:
        private = load_ssh_private_key(pair.private_key.encode(), None)
        assert isinstance(private, Ed25519PrivateKey)
        assert private.public_key() == load_ssh_public_key(pair.public_key.encode())
        assert pair.private_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----\n")
        assert pair.private_key.endswith("-----END OPENSSH PRIVATE KEY-----\n")


COMMENTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=40)


@given(COMMENTS)
@settings(max_examples=examples(50), deadline=None)
def test_generate_ssh_keys_comment(comment: str) -> None:
    """The comment is at the end of the public key."""
    public = generate_ssh_keys(comment).unwrap().public_key
    assert len(public.splitlines()) == 1
    assert public == " ".join([*public.split(" ")[:2], comment]).rstrip(" ")


@pytest.mark.parametrize("comment", ["a\nssh-ed25519 AAAA", "a\r", "\n", "\0", "a\tb", "\x1b[1m", "\x85", "\u2028"])
def test_generate_ssh_keys_line_break(comment: str) -> None:
    """A comment with a line break is refused."""
    error = generate_ssh_keys(comment).failure()
    assert isinstance(error, InvalidInput)
    assert (error.field, comment in str(error)) == ("comment", False)


def test_generate_ssh_keys_surrogate() -> None:
    """A comment that cannot be encoded is refused."""
    error = generate_ssh_keys("half \ud800").failure()
    assert isinstance(error, InvalidInput)
    assert error.field == "comment"


@pytest.mark.parametrize("comment", [None, 3, b"me"])
def test_generate_ssh_keys_comment_type(comment: Any) -> None:
    """A comment of a wrong type raises."""
    with pytest.raises(TypeError, match=r"^generate_ssh_keys: comment: expected str, got"):
        generate_ssh_keys(comment)


@pytest.mark.usefixtures("environment")
def test_generate_ssh_keys_in_a_sandbox() -> None:
    """A pair can be stored in a sandbox and works there."""
    pair = generate_ssh_keys("me@example.org").unwrap()
    box = create("keys").unwrap()
    kept = set_ssh_keys(box, *pair).unwrap()
    step: Step[Sandbox, SshKey] = set_ssh_keys(pair.private_key, pair.public_key)
    assert kept.public_key == pair.public_key
    assert kept.private_key == mask_ssh_private_key(pair.private_key)
    assert (box | get_ssh_keys).unwrap() == kept
    # A key that is put again is another record.
    assert step(box).unwrap().public_key == pair.public_key
    # The platform writes keys after the start has answered.
    look = box | start | exec("until test -s ~/.ssh/id_ed25519; do sleep 0.05; done; cat ~/.ssh/id_ed25519", timeout=60)
    assert look.unwrap().stdout == pair.private_key
    assert pocketenv.generate_ssh_keys is generate_ssh_keys


def test_generate_ssh_keys_hidden() -> None:
    """The private key is neither shown nor pickled."""
    pair = generate_ssh_keys("me").unwrap()
    # The body holds the public key as well, in clear: what is secret is the seed before its second appearance.
    body = base64.b64decode("".join(pair.private_key.splitlines()[1:-1]))
    key = load_ssh_private_key(pair.private_key.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    seed = key.private_bytes_raw()
    assert seed in body
    # In base64, as each of the three ways to align it has it.
    pieces = [seed.hex(), *(base64.b64encode(seed[i:])[:24].decode() for i in range(3))]
    assert any(piece in "".join(pair.private_key.split()) for piece in pieces)
    step = set_ssh_keys(*pair)
    shown = f"{pair!r}{pair}{pair.html()}{step!r}{step}"
    assert pair.public_key in shown
    for piece in pieces:
        assert piece not in shown
    for secretive in (pair, step, [pair]):
        with pytest.raises(pickle.PicklingError) as refused:
            pickle.dumps(secretive)
        told_of = "".join(traceback.format_exception(refused.value))
        assert not any(piece in told_of for piece in pieces)
    assert copy.copy(step) == step


def test_generate_ssh_keys_without_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error names the package to install."""
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ImportError, match=r"cryptography is not installed: pip install .*\[keys\]"):
        generate_ssh_keys()
