"""Compare one exchange with everything that is published and observed."""

from __future__ import annotations

import json
from typing import Any

from pocketenv_fp.local.methods import METHODS
from tests.conformance import contract
from tests.conformance.observed import DEVIATIONS, ERRORS, STORAGE_ERRORS, WRAPPED, unlike
from tests.conformance.recorder import Exchange

JSON = "application/json; charset=utf-8"
STORAGE_TEXTS = {(404, b"404 Not Found"), (500, b"Internal Server Error")}


def misfits(exchange: Exchange) -> set[str]:
    """Return the places where a 200 is not as its method declares, intended or not."""
    declared = contract.given(exchange.name)
    if declared is None:
        return {"answers something and declares nothing"} if exchange.body else set()
    if not exchange.body:
        return {"answers nothing"}
    answer: Any = exchange.json
    wrapper = WRAPPED.get(exchange.method)
    if wrapper is None:
        return contract.misfits(answer, declared)
    wrapped = {f"wrapped in `{wrapper}`"} if wrapper in answer else set[str]()
    return wrapped | contract.misfits(answer.get(wrapper, {}), declared)


def faults(exchange: Exchange) -> set[str]:
    """Return the faults of an answer: neither published nor observed. An empty list is success."""
    if exchange.status == 431:
        return {"a body after a head that is too large"} if exchange.body else set()
    length = exchange.headers.get("content-length")
    free = exchange.name.startswith("/cp") or exchange.request.verb == "OPTIONS" or exchange.status == 403
    found = set[str]() if free or "x-ratelimit-limit" in exchange.headers else {"no rate limit headers"}
    if exchange.headers.get("access-control-allow-origin") != "*":
        found.add("no access for other origins")
    if length is not None and int(length) != len(exchange.body) and exchange.request.verb != "HEAD":
        found.add(f"{len(exchange.body)} bytes where {length} are announced")
    if exchange.request.verb == "HEAD":
        return found | ({"a body after HEAD"} if exchange.body else set())
    if exchange.status in {204, 304}:
        return found | ({"a body where there is none"} if exchange.body else set())
    if exchange.name.startswith("/cp"):
        return found | _storage_faults(exchange)
    if exchange.page:
        method = METHODS.get(exchange.name)
        known = method is not None and method.handler is not None
        return found | ({"a page in place of a method's answer"} if known else set())
    return found | (_result_faults(exchange) if exchange.status == 200 else _error_faults(exchange))


def _result_faults(exchange: Exchange) -> set[str]:
    kind = exchange.headers.get("content-type")
    if not exchange.body:
        found = set[str]() if kind is None else {f"zero bytes of {kind}"}
    else:
        found = set[str]() if kind == JSON else {f"content type {kind}"}
        found |= unlike(exchange.method, exchange.json)
    return found | (misfits(exchange) - DEVIATIONS.get(exchange.method, set()))


def _error_faults(exchange: Exchange) -> set[str]:
    kind = exchange.headers.get("content-type")
    if kind != JSON:
        return {f"status {exchange.status} of content type {kind}"}
    told = json.loads(exchange.body)
    keys = {"error"} if exchange.status == 429 else {"error", "message"}
    if set(told) != keys or not all(isinstance(text, str) for text in told.values()):
        return {f"an error with {sorted(told)}"}
    if (exchange.status, told["error"]) not in ERRORS:
        return {f"unknown error {exchange.status} {told['error']}"}
    if exchange.status == 500 and told["message"] != "Internal Server Error":
        return {"a 500 that tells its text"}
    return set()


def _storage_faults(exchange: Exchange) -> set[str]:
    if exchange.status == 200:
        kind = exchange.headers.get("content-type", "")
        if exchange.request.verb == "GET":
            return set() if kind == "application/gzip" else {f"an archive of content type {kind}"}
        told = exchange.json
        return set() if set(told) == {"uuid"} and isinstance(told["uuid"], str) else {"an upload without a uuid"}
    if (exchange.status, exchange.body) in STORAGE_TEXTS:
        return set()
    told = json.loads(exchange.body)
    return set() if set(told) == {"error"} and (exchange.status, told["error"]) in STORAGE_ERRORS else {f"says {told}"}
