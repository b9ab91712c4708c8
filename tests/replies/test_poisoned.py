"""What a store holds that no guard wrote, or that was cut or mixed up, is as if it were not there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assistantguard import ReplyCache, Usage
from assistantguard.events.replies import ReplyCacheFailed
from assistantguard.replies import CachedReply, MemoryReplies, RedisReplies, SqlReplies
from assistantguard.replies.sql import body_of, reply_of
from assistantguard.storage import open_database
from tests.replies.stage import ASK, made
from tests.support.checks import check_books, paths
from tests.support.world import World

COUNTS = [1, 0, 0, 2, 0, 0, 1]
BODIES = (
    "",
    "nul",
    "null",
    "17",
    "[]",
    '"text"',
    "[" * 20_000,
    json.dumps(["text", "gpt", COUNTS, "0.1", ""])[:-8],
    json.dumps(["text", "gpt", COUNTS, "0.1"]),
    json.dumps([["text"], "gpt", COUNTS, "0.1", ""]),
    json.dumps(["text", None, COUNTS, "0.1", ""]),
    json.dumps(["text", "gpt", COUNTS[1:], "0.1", ""]),
    json.dumps(["text", "gpt", [-1, *COUNTS[1:]], "0.1", ""]),
    json.dumps(["text", "gpt", ["1", *COUNTS[1:]], "0.1", ""]),
    json.dumps(["text", "gpt", [True, *COUNTS[1:]], "0.1", ""]),
    json.dumps(["text", "gpt", [10**400, *COUNTS[1:]], "0.1", ""]),
    json.dumps(["text", "gpt", COUNTS, "much", ""]),
    json.dumps(["text", "gpt", COUNTS, "NaN", ""]),
    json.dumps(["text", "gpt", COUNTS, "-1", ""]),
    json.dumps(["text", "gpt", COUNTS, "1e999999", ""]),
    json.dumps(["text", "gpt", COUNTS, [1], ""]),
    json.dumps(["text", "gpt", COUNTS, "0.1", 5]),
)


def reply(key: str = "k", **changes: Any) -> CachedReply:
    now = time.time()
    values: dict[str, Any] = {"text": "the reply", "question": "what?", **changes}
    return CachedReply(
        key, "group", "thread", values["text"], "gpt", Usage(*COUNTS), None, now, now + 3600, values["question"]
    )


@pytest.mark.parametrize("body", BODIES)
def test_a_body_that_is_no_reply_s_is_none(body: str) -> None:
    kept = reply()
    assert reply_of("k", "group", "thread", kept.stored_at, kept.expires_at, body) is None


@pytest.mark.parametrize("at", [float("nan"), float("inf"), "1", None])
def test_a_time_that_is_none_is_no_reply_s(at: Any) -> None:
    kept = reply()
    assert reply_of("k", "group", "thread", kept.stored_at, kept.expires_at, body_of(kept)) == kept
    assert reply_of("k", "group", "thread", at, kept.expires_at, body_of(kept)) is None
    assert reply_of("k", "group", "thread", kept.stored_at, at, body_of(kept)) is None


def test_a_spoilt_row_is_a_miss_and_makes_room_for_a_good_one(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'guard.db'}")
    store = SqlReplies(database)
    for body in ("[", b"\xff\xfe", json.dumps([1, 2, 3])):
        store.put(reply("spoilt"), 100)
        store.put(reply("good"), 100)
        database.execute("UPDATE guard_replies SET body = ? WHERE key = 'spoilt'", (body,))
        now = time.time()
        assert store.get("spoilt", now) is None
        assert [each.key for each in store.of_group("group", now, 10)] == ["good"]
        store.put(reply("spoilt"), 100)
        assert store.get("spoilt", now) is not None
    database.close()


def test_a_spoilt_value_of_a_server_is_a_miss_and_makes_room_for_a_good_one(valkey_url: str) -> None:
    store = RedisReplies(valkey_url)
    client: Any = store._client
    for key in ("spoilt", "good"):
        store.put(reply(key), 100)
    good = client.get("assistantguard:reply:reply:good")
    now = time.time()
    # The last is the reply to another question.
    for value in ("[", "{}", "[1, 2, 3, 4, 5, 6]", b"\xff\xfe[]", '"' + "ü" * 9, good):
        client.set("assistantguard:reply:reply:spoilt", value)
        assert store.get("spoilt", now) is None
        assert [each.key for each in store.of_group("group", now, 10)] == ["good"]
        store.put(reply("spoilt"), 100)
        assert store.get("spoilt", now) is not None
    store.close()


def test_a_server_forgets_what_nobody_can_ask_for_any_more(valkey_url: str) -> None:
    store, now = RedisReplies(valkey_url), time.time()
    for number in range(4):
        kept = reply(str(number))
        kept.stored_at, kept.expires_at = now + number, now + number + 0.5
        store.put(kept, 100)
    client: Any = store._client
    assert client.zcard("assistantguard:reply:of_thread:thread") == 1
    assert client.zcard("assistantguard:reply:index") == 1
    store.close()


Spoil = Callable[[CachedReply], Any]


class _Spoilt(MemoryReplies):
    """Gives something else than it was given."""

    def __init__(self, spoil: Spoil) -> None:
        super().__init__()
        self.spoil = spoil

    def get(self, key: str, now: float) -> Any:
        found = super().get(key, now)
        return None if found is None else self.spoil(found)


def changed(found: CachedReply, **changes: Any) -> CachedReply:
    names = ("key", "group", "thread_id", "text", "model", "usage", "cost", "stored_at", "expires_at", "question")
    return CachedReply(**{**{name: getattr(found, name) for name in names}, **changes})


@pytest.mark.parametrize(
    "spoil",
    [
        lambda found: found.text,
        lambda found: changed(found, key="another's"),
        lambda found: changed(found, expires_at=0.0),
        lambda found: changed(found, text=["x"]),
        lambda found: changed(found, text="x" * 101),
        lambda found: changed(found, usage=None),
    ],
)
def test_what_a_store_gives_is_looked_at_before_it_is_told(world: World, spoil: Spoil) -> None:
    cache = ReplyCache(store=_Spoilt(spoil), scope="everyone", max_characters=100)
    sandbox, bot = made(world, cache)
    assert [bot.chat("What is it?", bot.thread()).cached for _ in range(2)] == [False, False]
    assert paths(sandbox, ASK) == 2
    assert not bot.all(ReplyCacheFailed)
    check_books(bot, sandbox)
