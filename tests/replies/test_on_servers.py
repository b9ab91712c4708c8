"""`ReplyCache` on each backend that there is, and over a Valkey server that may go away."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest

from assistantguard import ReplyCache
from assistantguard.events.replies import ReplyCached, ReplyCacheFailed
from assistantguard.sandbox import Sandbox
from tests.support.backends import on_responses, on_the_drop_in, on_the_served_drop_in
from tests.support.checks import paths
from tests.support.clock import Clock
from tests.support.stories import Shop, Story
from tests.support.threads import of_user
from tests.support.valkey import valkey_server
from tests.support.world import World

STORY = Story("cached", (), policies=lambda: [ReplyCache(scope="everyone")])
ASK = "POST /responses"


def counting(world: World) -> Sandbox:
    return world.sandbox(lambda request: f"{request.last_user_text} is message {len(request.items)}.")


@pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:deprecated$:DeprecationWarning")
@pytest.mark.parametrize("begin", [on_responses, on_the_drop_in, on_the_served_drop_in])
def test_a_conversation_goes_on_after_cached_replies_on_every_backend(world: World, begin: Callable[..., Any]) -> None:
    with ExitStack() as stack:
        sandbox = counting(world)
        bot = begin(world, stack, STORY, Shop(), sandbox)
        one, other = bot.thread(), bot.thread()
        said = [bot.chat(text, one).text for text in ("First?", "Second?")]
        again = [bot.chat(text, other) for text in ("First?", "Second?", "Third?")]
        assert [reply.cached for reply in again] == [True, True, False]
        assert [reply.text for reply in again] == [*said, "Third? is message 5."]
        assert len(bot.all(ReplyCached)) == 2
        assert paths(sandbox, ASK) == 3


def test_guards_share_replies_over_a_valkey_server(world: World, valkey_url: str) -> None:
    sandbox = counting(world)
    one, other = (world.bot(sandbox, [ReplyCache(store=valkey_url)]) for _ in range(2))
    first = one.chat("What is it?", of_user(one, "ann"))
    again = other.chat("What is it?", of_user(other, "ann"))
    assert (again.cached, again.text) == (True, first.text)
    assert not other.chat("What is it?", of_user(other, "ben")).cached
    gone = of_user(one, "ann", "gone")
    one.chat("And this?", gone)
    world.wait(one.guard.threads.delete("ann", "gone"))
    assert not other.chat("And this?", of_user(other, "ann", "new")).cached


def test_turns_go_on_while_the_valkey_server_is_away_and_are_cached_again_after(world: World, clock: Clock) -> None:
    sandbox = counting(world)
    with valkey_server() as server:
        port = server.port
        url = f"valkey://{server.host}:{port}/0"
        bot = world.bot(sandbox, [ReplyCache(store=url, scope="everyone")])
        bot.chat("What is it?", bot.thread())
        assert bot.chat("What is it?", bot.thread()).cached
        server.stop()
        assert not bot.chat("What is it?", bot.thread()).cached
        assert bot.all(ReplyCacheFailed)[0].operation == "get"
    with valkey_server(port):
        clock.advance(6)  # for so long it was left alone
        bot.chat("What is it?", bot.thread())
        assert bot.chat("What is it?", bot.thread()).cached
