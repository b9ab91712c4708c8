"""What every store of replies does, in memory, SQLite, PostgreSQL and Valkey."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

from assistantguard import Usage
from assistantguard.replies import CachedReply, ReplyStore
from tests.replies.conftest import Open
from tests.support.waiting import wait_until

ODD = "a \x00 \ud800 \u2028 'quoted' \"\" ünï %s ? :"


def reply(key: str = "k", /, **changes: object) -> CachedReply:
    now = time.time()
    made = CachedReply(
        key,
        "group",
        "thread",
        f"the reply to {key}",
        "gpt-6-luna",
        Usage(100, 20, 10, 30, 5, 0, 2),
        Decimal("0.000000000123"),
        now,
        now + 3600,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_what_was_put_is_found_by_another_who_opens_the_store(another: Open) -> None:
    kept = reply(question="what?")
    another().put(kept, 100)
    assert another().get("k", time.time()) == kept
    assert another().get("other", time.time()) is None


def test_odd_texts_come_back_as_they_were(store: ReplyStore) -> None:
    kept = reply(text=ODD, question=ODD, cost=None)
    store.put(kept, 100)
    assert store.get("k", time.time()) == kept
    assert list(store.of_group("group", time.time(), 10)) == [kept]


def test_a_reply_takes_the_place_of_another_of_its_key(store: ReplyStore) -> None:
    store.put(reply(text="old"), 100)
    store.put(reply(text="new"), 100)
    found = store.get("k", time.time())
    assert found is not None
    assert found.text == "new"


def test_a_reply_whose_time_is_over_is_not_found(store: ReplyStore) -> None:
    kept = reply(question="what?")
    store.put(kept, 100)
    assert store.get("k", kept.expires_at - 0.001) == kept
    assert store.get("k", kept.expires_at) is None
    assert list(store.of_group("group", kept.expires_at, 10)) == []


def test_replies_whose_time_is_over_are_deleted(store: ReplyStore) -> None:
    now = time.time()
    store.put(reply("soon", stored_at=now - 10, expires_at=now - 9.9), 100)
    store.put(reply("later"), 100)
    store.expire(now)
    assert store.get("soon", now - 9.95) is None or not store.in_process  # a server ends it by its own clock
    wait_until(lambda: store.get("soon", now - 9.95) is None)
    assert store.get("later", now) is not None


def test_there_are_no_more_than_were_allowed_and_the_newest_stay(store: ReplyStore) -> None:
    now = time.time()
    for number in range(8):
        store.put(reply(str(number), stored_at=now + number, expires_at=now + 3600 + number), 5)
    found = [number for number in range(8) if store.get(str(number), now + 10) is not None]
    assert found == [3, 4, 5, 6, 7]


def test_a_group_gives_its_questions_the_newest_first(store: ReplyStore) -> None:
    now = time.time()
    for number in range(4):
        store.put(reply(str(number), question=f"question {number}", stored_at=now + number), 100)
    store.put(reply("without", stored_at=now + 9), 100)
    store.put(reply("elsewhere", question="foreign", group="another"), 100)
    found = store.of_group("group", now + 10, 3)
    assert [each.question for each in found] == ["question 3", "question 2", "question 1"]


def test_a_key_is_claimed_by_one_at_a_time(another: Open) -> None:
    one, other, now = another(), another(), time.time()
    assert one.claim("k", "one", now, now + 60)
    assert not other.claim("k", "other", now, now + 60)
    assert one.claim("k", "one", now, now + 60)
    assert other.claim("k2", "other", now, now + 60)
    other.release("k", "other")  # not its own
    assert not other.claim("k", "other", now, now + 60)
    one.release("k", "one")
    assert other.claim("k", "other", now, now + 60)


def test_a_claim_ends_by_itself(store: ReplyStore) -> None:
    now = time.time()
    assert store.claim("k", "one", now, now + 0.05)
    wait_until(lambda: store.claim("k", "other", time.time(), time.time() + 60))
    assert not store.claim("k", "one", time.time(), time.time() + 60)


def test_of_many_at_once_one_gets_the_claim(another: Open) -> None:
    stores, now = [another() for _ in range(4)], time.time()
    with ThreadPoolExecutor(8) as pool:
        claimed = list(pool.map(lambda n: stores[n % 4].claim("k", f"owner {n}", now, now + 60), range(16)))
    assert claimed.count(True) == 1


def test_what_was_given_on_a_thread_is_forgotten_with_it(store: ReplyStore) -> None:
    store.put(reply("a", thread_id="gone:*", question="a?"), 100)
    store.put(reply("b", thread_id="gone:*"), 100)
    store.put(reply("c", thread_id="gone"), 100)
    assert store.forget("gone:*") == 2
    assert store.forget("gone:*") == 0
    now = time.time()
    assert [store.get(key, now) is not None for key in "abc"] == [False, False, True]
    assert list(store.of_group("group", now, 10)) == []


def test_a_store_can_be_used_again_after_it_was_closed(store: ReplyStore) -> None:
    store.close()
    store.put(reply(), 100)
    assert store.get("k", time.time()) is not None
