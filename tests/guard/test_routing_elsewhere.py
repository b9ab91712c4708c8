"""Routing over the Assistants protocol."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from assistantguard import (
    AssistantGuard,
    AsyncAssistantGuard,
    ConfigurationError,
    MatchingMessages,
    ModelRouting,
    Otherwise,
    Route,
)
from assistantguard.events import Event, RunStarted
from tests.support.assistants_server import AssistantsServer, Says
from tests.support.world import Bot, WatchedLedger, World


@contextmanager
def guarded(world: World, server: AssistantsServer, *policies: Any) -> Iterator[Bot]:
    """A guard of a server's own assistant, whose model is gpt-4o."""
    client: Any = server.async_client() if world.is_async else server.client()
    events: list[Event] = []
    ledger = WatchedLedger()
    kind: Any = AsyncAssistantGuard if world.is_async else AssistantGuard
    guard = kind(client, None, list(policies), assistant_id="asst_1", sinks=[events.append], ledger=ledger)
    yield Bot(world, guard, events, ledger)
    world.wait(guard.close())
    world.wait(client.close())


def test_a_run_on_an_assistants_server_names_the_routed_model(world: World) -> None:
    with AssistantsServer(Says("Yes."), Says("No."), Says("Well.")) as server:
        rules = ModelRouting([MatchingMessages("why", Route("gpt-5-mini", reasoning_effort="low"))])
        with guarded(world, server, rules) as bot:
            for message in ("Is it here?", "But why?", "I see."):
                bot.chat(message)
        first, second, third = server.bodies("POST", "/runs")
        assert "model" not in first
        assert (second["model"], second["reasoning_effort"]) == ("gpt-5-mini", "low")
        assert third["model"] == "gpt-5-mini"
        assert "reasoning_effort" not in third
        assert [event.model for event in bot.all(RunStarted)] == ["gpt-4o", "gpt-5-mini", "gpt-5-mini"]
        assert [entry.model for entry in bot.ledger.entries()] == ["gpt-4o", "gpt-5-mini", "gpt-5-mini"]


def test_a_service_tier_is_refused_where_the_protocol_knows_none(world: World) -> None:
    flex = Route("gpt-5-mini", service_tier="flex")
    with AssistantsServer(Says("Yes.")) as server:
        with pytest.raises(ConfigurationError, match="a route has service_tier='flex', and an assistant_id is given"):
            guarded(world, server, ModelRouting([Otherwise(flex)])).__enter__()
        with (
            guarded(world, server, ModelRouting([lambda _: flex])) as bot,
            pytest.raises(ConfigurationError, match="a rule returned service_tier='flex'"),
        ):
            bot.chat("Is it here?")
        assert server.bodies("POST", "/runs") == []
