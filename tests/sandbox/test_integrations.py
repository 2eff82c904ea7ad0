"""Integrations: the contract has them and the platform has not, so nothing is sent."""

from __future__ import annotations

import pytest
from returns.result import Failure

from pocketenv_fp import (
    InvalidInput,
    NotSupported,
    create_integration,
    list_integrations,
    pocketenv,
)
from tests import servers
from tests.servers import BOX, Server, client, reply


def test_integrations_not_supported() -> None:
    """Integrations are not supported, and no request is sent."""
    with Server(servers.always(reply(b"{}"))) as server:
        config = client(server.url)
        made = (create_integration(BOX, "GitHub", config=config), pocketenv.create_integration("1", "x", config=config))
        listed = (list_integrations(BOX, config=config), pocketenv.list_integrations("1", config=config))
        assert server.connections == 0
    reason = "It has no handler for integrations."
    assert set(made) == {Failure(NotSupported("create_integration", instead=reason))}
    assert set(listed) == {Failure(NotSupported("list_integrations", instead=reason))}
    assert "the platform does not support it" in str(made[0].failure())


def test_create_integration_name() -> None:
    """A name is required although integrations are not supported."""
    for wrong in (create_integration(BOX, ""), pocketenv.create_integration("3f2a", " ")):
        error = wrong.failure()
        assert isinstance(error, InvalidInput)
        assert error.field == "name"
    with pytest.raises(TypeError, match="name"):
        create_integration(BOX, 3)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType, reportCallIssue]
