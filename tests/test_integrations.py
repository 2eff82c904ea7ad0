"""Integrations: what the contract says about them, from the library to the embedded platform and back."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest
from returns.result import Success

from pocketenv_fp import (
    ApiError,
    Config,
    DecodeError,
    InvalidInput,
    Sandbox,
    create,
    create_integration,
    delete,
    get_sandbox,
    list_integrations,
    local,
    pocketenv,
)
from tests import servers
from tests.local.wire import Wire
from tests.servers import BOX, Server, client, reply


@pytest.fixture
def box(environment: dict[str, str]) -> Sandbox:
    assert environment
    return create(f"box-{uuid4()}").unwrap()


def test_an_integration_that_is_created_is_listed(box: Sandbox) -> None:
    assert (box | list_integrations) == Success([])
    one = (box | create_integration("GitHub")).unwrap()
    two = pocketenv.create_integration(box.id, "GitHub").unwrap()
    assert one.name == two.name == "GitHub"
    assert one.id != two.id
    assert one.webhook_url != two.webhook_url
    assert one.created_at is not None
    assert (box | list_integrations) == Success([one, two]) == pocketenv.list_integrations(box.id)


def test_the_address_of_a_web_hook_is_never_shown(box: Sandbox) -> None:
    made = (box | create_integration("GitHub")).unwrap()
    assert made.webhook_url.startswith("http://127.0.0.1:")
    for shown in (repr(made), str(made), made.html(), repr(box | list_integrations)):
        assert made.webhook_url.rpartition("/")[2] not in shown


def test_what_calls_a_web_hook_of_the_embedded_platform_gets_a_404(box: Sandbox) -> None:
    made = (box | create_integration("GitHub")).unwrap()
    for body in (None, b"{}"):
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(made.webhook_url, body, timeout=5)
        with refused.value as answer:
            assert answer.code == 404


def test_integrations_are_their_owners_and_go_with_their_sandbox(box: Sandbox, platform: local.Platform) -> None:
    made = (box | create_integration("GitHub")).unwrap()
    somebody = Config(token=platform.new_user("somebody-else.test"))
    for hidden in (
        create_integration(box, "GitHub", config=somebody),
        list_integrations(box, config=somebody),
    ):
        error = hidden.failure()
        assert isinstance(error, ApiError)
        assert error.status == 404
    assert (box | list_integrations) == Success([made])
    (box | delete).unwrap()
    assert get_sandbox(box.id) == Success(None)
    error = (box | list_integrations).failure()
    assert isinstance(error, ApiError)
    assert error.status == 404


def test_an_integration_outlives_the_platform_and_its_address_follows(tmp_path: Path) -> None:
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        sandbox = wire.create()
        made = wire.post("sandbox.createIntegration", {"id": sandbox, "name": "GitHub"}).json
        assert made["webhookUrl"].startswith(f"{platform.url}/")
    with local.platform(data=tmp_path) as platform, Wire(platform, platform.token) as wire:
        (kept,) = wire.get("sandbox.getIntegrations", id=sandbox).json
        assert (kept["id"], kept["createdAt"]) == (made["id"], made["createdAt"])
        assert kept["webhookUrl"].startswith(f"{platform.url}/")
        assert kept["webhookUrl"].rpartition("/")[2] == made["webhookUrl"].rpartition("/")[2]


def test_a_name_is_needed() -> None:
    for wrong in (create_integration(BOX, ""), pocketenv.create_integration("3f2a", " ")):
        error = wrong.failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "name"


VIEW: dict[str, object] = {"id": "1", "name": "GitHub", "webhookUrl": "https://example.com/hook", "new": {"a": 1}}


def test_what_the_contract_says_is_read_and_what_it_does_not_say_passed_over() -> None:
    with Server(servers.in_turn(reply(json.dumps(VIEW).encode()), reply(json.dumps([VIEW, VIEW]).encode()))) as server:
        made = (BOX | create_integration("GitHub", config=client(server.url))).unwrap()
        assert (made.id, made.name, made.webhook_url) == ("1", "GitHub", "https://example.com/hook")
        assert (BOX | list_integrations(config=client(server.url))) == Success([made, made])
        assert json.loads(server.seen[0].body) == {"id": BOX.id, "name": "GitHub"}


@pytest.mark.parametrize("answer", [{}, {"integrations": [VIEW]}, [{"id": "1"}], VIEW | {"webhookUrl": 3}, None])
def test_an_answer_that_the_contract_does_not_know_is_not_understood(answer: object) -> None:
    with Server(servers.always(reply(json.dumps(answer).encode()))) as server:
        assert isinstance((BOX | list_integrations(config=client(server.url))).failure(), DecodeError)
        assert isinstance((BOX | create_integration("GitHub", config=client(server.url))).failure(), DecodeError)
