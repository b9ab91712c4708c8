"""A guard of either colour over the official SDK, with respx where the network would be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Any, cast

import openai
import pytest
import respx

from assistantguard import MemoryLedger, Policy
from tests.support.world import COLOURS, Bot, World
from tests.wire.contract import check_requests
from tests.wire.server import MOCKER, FakeServer


class Wire:
    """One guard's way to its server."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.ledger = MemoryLedger()
        self.server = FakeServer(self.ledger)
        self.closing = ExitStack()

    def client(self, **options: Any) -> openai.OpenAI | openai.AsyncOpenAI:
        """The official client of this colour, closed at the end."""
        options = {"api_key": "sk-test", "base_url": "https://api.openai.test/v1", **options}
        # Nothing is sent, so no certificates are loaded: that takes most of a client's time.
        if not self.world.is_async:
            client = openai.OpenAI(http_client=openai.DefaultHttpxClient(verify=False), **options)
            self.closing.callback(client.close)
            return client
        async_client = openai.AsyncOpenAI(http_client=openai.DefaultAsyncHttpxClient(verify=False), **options)
        self.closing.callback(lambda: self.world.wait(async_client.close()))
        return async_client

    def bot(self, policies: Sequence[Policy] | None = None, *, client: Any = None, **options: Any) -> Bot:
        """A guard over this server."""
        no_sandbox = cast("Any", None)
        return self.world.bot(no_sandbox, policies, client=client or self.client(), ledger=self.ledger, **options)


@pytest.fixture(params=COLOURS)
def wire(request: pytest.FixtureRequest, warm: None) -> Iterator[Wire]:
    """Every request is intercepted, and every request of every test keeps the contract."""
    with World(request.param) as world, respx.mock(using=MOCKER, assert_all_called=False) as router:
        wire = Wire(world)
        wire.server.mount(router)
        with wire.closing:
            yield wire
    check_requests(wire.server.requests)
