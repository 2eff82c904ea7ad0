"""What is shown of values: secrets never, and the ids that a person needs to find things always."""

from __future__ import annotations

import inspect

import pytest

from pocketenv_fp import create, exec, fan_out, identity
from pocketenv_fp.explaining.masking import SHOWN, MaskedFields
from pocketenv_fp.redaction import HIDDEN, is_secret, shown, without_passwords

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----"
IDS = ["backupId", "did", "id", "sandboxId", "serviceId", "uuid"]


@pytest.mark.parametrize("name", IDS)
def test_masked_fields_shows_ids(name: str) -> None:
    """Ids are shown."""
    assert MaskedFields("").masked("sandbox.exec", {name: "rec_0123456789abcdefghij"}) == {
        name: "rec_0123456789abcdefghij"
    }


@pytest.mark.parametrize("name", sorted(SHOWN))
def test_masked_fields_shows_plain_fields(name: str) -> None:
    """Fields without a secret are shown, unless their value is a key."""
    assert MaskedFields("").masked("x", {name: "some-value", "other": "top-secret"}) == {
        name: "some-value",
        "other": HIDDEN,
    }
    assert MaskedFields("").masked("x", {"in": {name: 5, "other": 6}}) == {"in": {name: 5, "other": HIDDEN}}
    assert MaskedFields("").masked("x", {name: KEY}) == {name: HIDDEN}


MAPPINGS = {
    "a value that is secret by its name": ({"API_KEY": "sk-12345"}, True, "{'API_KEY': '***'}"),
    "a value that is a key by its looks": ({"API_KEY": KEY}, False, "{'API_KEY': '***'}"),
    "a value that is none": ({"MODE": "fast"}, False, "{'MODE': 'fast'}"),
    "a key that is a private key": ({KEY: "x"}, False, "'***'"),
    "a key that is a private key, deeper": ({"a": {KEY: "x"}}, False, "{'a': '***'}"),
    "a key that is no name, of secrets": ({"sk-12345 and more": "x"}, True, "{'***': '***'}"),
    "a key with dashes, of secrets": ({"api-key": "x"}, True, "{'api-key': '***'}"),
    "a key that is no name, of other values": ({"/etc/app.conf": "x"}, False, "{'/etc/app.conf': 'x'}"),
    "secrets in a list": ({"keys": [KEY]}, False, "{'keys': '***'}"),
}


@pytest.mark.parametrize(("value", "by_name", "text"), MAPPINGS.values(), ids=MAPPINGS)
def test_shown_mapping(value: dict[str, object], text: str, *, by_name: bool) -> None:
    assert shown(value, is_secret_by_name=by_name) == text
    assert KEY not in text


def test_without_passwords_any_case() -> None:
    """The scheme of a URL may be in any case. The user name of other schemes is no secret."""
    assert without_passwords("git clone HTTPS://ghp_12345@example.com") == "git clone HTTPS://***@example.com"
    assert without_passwords("SSH://git@example.com Ssh://me:secret@host") == "SSH://git@example.com Ssh://***@host"


def test_is_secret_mapping_keys() -> None:
    """A secret may be the key of a mapping."""
    assert is_secret({KEY: "x"}, is_secret_by_name=False)
    assert is_secret([{"a": {KEY: "x"}}], is_secret_by_name=False)
    assert not is_secret({"a": "x"}, is_secret_by_name=False)


def test_fan_out_no_bar_by_default(capsys: pytest.CaptureFixture[str]) -> None:
    """No progress bar is shown by default."""
    assert inspect.signature(fan_out).parameters["progress"].default is False
    fan_out(create | exec("true"), ["one", "two"])
    fan_out(identity, ["one", "two"])
    assert capsys.readouterr() == ("", "")
