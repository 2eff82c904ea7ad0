"""All answers of the embedded platform, for every method, against the published and the observed ones."""

from __future__ import annotations

import pytest

from pocketenv_fp.local.methods import METHODS
from tests.conformance import contract, judge
from tests.conformance.observed import (
    BARE,
    DEVIATIONS,
    ERRORS,
    KEYS,
    OPEN,
    OWNERLESS,
    SERVER_ERRORS,
    STORAGE_ERRORS,
    WITHOUT_HANDLER,
    unlike,
)
from tests.conformance.recorder import Exchange
from tests.conformance.table import rows, standings
from tests.servers import Request

pytestmark = pytest.mark.contract

ALL = sorted(METHODS)
HANDLED = [name for name in ALL if METHODS[name].handler is not None]


def short(name: str) -> str:
    return name.rpartition(".")[2]


def test_walk_published_methods(walked: list[Exchange]) -> None:
    """The walk calls every published method."""
    assert set(METHODS) == set(contract.methods())
    assert {exchange.name for exchange in walked} >= set(METHODS)


@pytest.mark.parametrize("name", ALL)
def test_answers_published_or_observed(walked: list[Exchange], name: str) -> None:
    """Every answer is as published or as observed."""
    found = [exchange for exchange in walked if exchange.name == name]
    assert not {(exchange.status, line) for exchange in found for line in judge.faults(exchange)}


def test_answers_to_unknown_methods(walked: list[Exchange]) -> None:
    """A request for an unknown method is answered as observed."""
    others = [exchange for exchange in walked if exchange.name not in METHODS]
    assert not {(exchange.name, line) for exchange in others for line in judge.faults(exchange)}


@pytest.mark.parametrize("name", HANDLED)
def test_answers_success_of_each_method(walked: list[Exchange], name: str) -> None:
    """Every method with a handler succeeds at least once."""
    assert [exchange for exchange in walked if exchange.name == name and exchange.status == 200]


def test_answers_methods_without_handler(walked: list[Exchange]) -> None:
    """Only the listed methods have no handler."""
    absent = {each.method for each in standings(walked) if not each.implemented}
    assert absent == WITHOUT_HANDLER
    for exchange in walked:
        if exchange.method in absent:
            assert exchange.page, exchange.name


def test_answers_deviations(walked: list[Exchange]) -> None:
    """Every listed deviation occurs."""
    seen = {each.method: each.misfits for each in standings(walked) if each.misfits}
    assert seen == DEVIATIONS


def test_answers_empty_object_without_a_view(walked: list[Exchange]) -> None:
    """A method that declares a view and sends no view answers an empty object."""
    views = {short(name) for name in contract.methods() if contract.given(name) is not None}
    assert views >= BARE
    found = [exchange for exchange in walked if exchange.method in BARE and exchange.status == 200]
    assert {exchange.method for exchange in found} == BARE
    assert {exchange.body for exchange in found} == {b"{}"}


def test_answers_observed_keys() -> None:
    """Every method with an answer has the keys that were seen."""
    answering = {short(name) for name in HANDLED if contract.given(name) is not None}
    assert set(KEYS) == answering


def test_answers_errors_of_the_platform(walked: list[Exchange]) -> None:
    """Every listed error occurs."""
    refused = [exchange for exchange in walked if exchange.status not in {200, 204} and not exchange.page]
    methods = {(e.status, e.json["error"]) for e in refused if not e.name.startswith("/cp")}
    assert methods == ERRORS
    storage = {(e.status, e.json["error"]) for e in refused if e.name.startswith("/cp")}
    assert storage == STORAGE_ERRORS


def test_answers_errors_of_the_contract() -> None:
    """Of all errors the contract has one, and another by another name."""
    published = set[tuple[int, str]]()
    for path in contract.openapi()["paths"].values():
        for declared in path.values():
            for status, response in declared["responses"].items():
                if status != "200":
                    kind = response["content"]["application/json"]["schema"]["properties"]["error"]
                    names = [each["const"] for each in kind.get("oneOf", [kind])]
                    published |= {(int(status), name) for name in names}
    assert published & ERRORS == {(400, "InvalidRequest")}
    assert (401, "AuthMissing") in published


def test_answers_server_errors(walked: list[Exchange]) -> None:
    """Only named methods are a server error to a caller with a login."""
    broken = {
        exchange.method
        for exchange in walked
        if exchange.status == 500 and "not-a-token" not in exchange.request.headers.get("authorization", "")
    }
    assert broken == set(SERVER_ERRORS)


def test_answers_without_login(walked: list[Exchange]) -> None:
    """A caller without a login gets the observed answers."""
    strangers = [e for e in walked if e.name in METHODS and "authorization" not in e.request.headers]
    assert {exchange.name for exchange in strangers} == set(HANDLED)
    for exchange in strangers:
        if exchange.status == 429:
            continue
        if exchange.method in OPEN:
            assert exchange.status == 200, exchange.name
        elif exchange.method in OWNERLESS:
            assert exchange.status == 404, exchange.name
        else:
            name = "AuthenticationError" if exchange.method == "createSandbox" else "AuthenticationRequired"
            assert (exchange.status, exchange.json["error"]) == (401, name), exchange.name


def test_table_line_for_each_method(walked: list[Exchange]) -> None:
    """The table at the end of the run has a line for every method."""
    lines = list(rows(walked))
    assert len(lines) == len(contract.methods()) + 2
    assert not [line for line in lines if "NO" in line.split()]


def test_judge_faults() -> None:
    """The judge lists the faults of an answer."""
    asked = Request("GET", "", {}, b"", 0, 0.0)
    headers = {"content-type": judge.JSON, "x-ratelimit-limit": "500", "access-control-allow-origin": "*"}

    def faults(method: str, status: int, body: bytes) -> set[str]:
        return judge.faults(Exchange(f"io.pocketenv.{method}", asked, status, headers, body))

    assert not faults("secret.getSecrets", 200, b'{"secrets": [], "total": 0}')
    assert faults("secret.getSecrets", 200, b'{"secrets": []}') == {".total: absent"}
    assert "total: not of type integer" in faults("secret.getSecrets", 200, b'{"secrets": [], "total": "0"}')
    assert faults("secret.getSecret", 200, b'{"secret": {"id": "a", "name": "b"}}') == {"secret.createdAt: absent"}
    assert "zero bytes of application/json; charset=utf-8" in faults("secret.addSecret", 200, b"")
    assert faults("secret.getSecret", 500, b'{"error": "InternalServerError", "message": "no such table"}')
    assert faults("secret.getSecret", 409, b'{"error": "Conflict", "message": ""}') == {"unknown error 409 Conflict"}
    assert faults("secret.getSecret", 400, b'{"error": "InvalidRequest"}') == {"an error with ['error']"}
    assert unlike("getProfile", {}) == set()
