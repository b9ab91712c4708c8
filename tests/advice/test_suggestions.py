from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from assistantguard import ConfigurationError
from assistantguard.advice import Advice, History, LimitState, Suggestion, advice_document, advise, read_events
from assistantguard.advice.history import StoreState
from tests.advice.histories import CHEAP, PRICES, START, Log, cost_of


def advice_on(log: Log, folder: Path) -> Advice:
    return advise(read_events(log.write(folder / "events.jsonl")), prices=PRICES, cheaper=CHEAP)


def only(advice: Advice, kind: str) -> Suggestion:
    (found,) = [each for each in advice.suggestions if each.kind == kind]
    return found


def kinds(advice: Advice) -> set[str]:
    return {each.kind for each in advice.suggestions}


def test_the_ceiling_is_the_p99_and_two_more(tmp_path: Path) -> None:
    log = Log()
    for number in range(99):
        log.turn(10, steps=2, thread=f"t{number}")
    log.turn(10, steps=30, thread="spiral")

    found = only(advice_on(log, tmp_path), "step_ceiling")

    assert found.setting == "ToolStepCeiling(4)"
    assert found.saving is not None
    assert found.saving > 0
    assert "the longest 30; 1 would have been ended" in found.evidence


def test_few_runs_and_runs_without_tools_say_nothing_of_a_ceiling(tmp_path: Path) -> None:
    few, plain = Log(), Log()
    few.turn(10, steps=3)
    for _ in range(30):
        plain.turn(10)

    assert "step_ceiling" not in kinds(advice_on(few, tmp_path)) | kinds(advice_on(plain, tmp_path))


def test_long_threads_are_told_to_rotate_and_short_ones_are_not(tmp_path: Path) -> None:
    long, short = Log(), Log()
    for _ in range(80):
        long.turn(200, 300)
    short.turn(200, 300)

    found = only(advice_on(long, tmp_path), "rotation")

    assert found.setting.startswith("ThreadRotation(")
    assert found.sureness == "estimated"
    assert found.low is not None
    assert found.saving is not None
    assert found.high is not None
    assert 0 < found.low <= found.saving <= found.high < long.cost
    assert "rotation" not in kinds(advice_on(short, tmp_path))


def test_short_messages_that_need_no_tools_go_to_the_cheaper_model(tmp_path: Path) -> None:
    log = Log(fixed=100)
    for number in range(40):
        log.turn(12, 20, thread=f"easy{number}")
        log.turn(200, 600, steps=2, thread=f"hard{number}")

    found = only(advice_on(log, tmp_path), "cheaper_model")

    assert found.setting == "ModelRouting([ShortMessages('cheap-model', max_tokens=8), Otherwise('test-model')])"
    assert found.saving == 40 * cost_of(112, 0, 20) * Decimal("0.9")
    assert found.low == 40 * (cost_of(112, 0, 20) - cost_of(112, 0, 40) / 10)


def test_short_messages_that_need_tools_stay(tmp_path: Path) -> None:
    log = Log(fixed=100)
    for number in range(60):
        log.turn(12, 20, steps=number % 2, thread=f"t{number}")

    assert "cheaper_model" not in kinds(advice_on(log, tmp_path))


def test_a_call_that_follows_at_once_and_finds_nothing_lost_its_prefix(tmp_path: Path) -> None:
    log = Log(fixed=2_000)
    log.turn(100)
    for _ in range(2):
        log.turn(100, finds=False)
    for _ in range(2):
        log.turn(100)

    advice = advice_on(log, tmp_path)

    # The second and the third call read 2,250 and 2,400 tokens, of which 2,048 and 2,176 had been read before.
    assert only(advice, "cache_prefix").saving == Decimal(9 * (2_048 + 2_176)) / 1_000_000
    assert "cache_gaps" not in kinds(advice)


def test_a_call_after_a_long_pause_that_finds_nothing_lost_it_to_the_pause(tmp_path: Path) -> None:
    log = Log(fixed=2_000)
    log.turn(100)
    log.turn(100, finds=False, pause=3_600.0)
    log.turn(100, finds=False, pause=20 * 3_600.0)

    found = only(advice_on(log, tmp_path), "cache_gaps")

    saving = Decimal(9 * (2_048 + 2_176)) / 1_000_000
    assert (found.saving, found.low) == (saving, saving / 2)
    assert "prompt_cache_retention" in found.setting


def test_a_message_that_left_its_topic_would_have_begun_a_new_thread(tmp_path: Path) -> None:
    log = Log(fixed=100)
    log.turn(500, 100)
    log.tell("thread.suggested", compared=2)
    log.turn(20, 100)

    found = only(advice_on(log, tmp_path), "topics")

    assert found.saving == cost_of(720, 0, 100) - cost_of(120, 0, 100)


def test_storage_of_unused_stores_is_reckoned_where_their_size_is_known() -> None:
    days = START + 10 * 86_400.0
    stores = [StoreState("vs_1", 3 << 30, START), StoreState("vs_2", None, START)]
    history = History("events", first_time=START, last_time=days, unused_stores=stores)
    unknown = History("events", first_time=START, last_time=days, unused_stores=stores[1:])

    found = only(advise(history), "vector_stores")

    # Three gigabytes for ten days at 0.10 each; the first gigabyte may be free.
    assert (found.saving, found.low, found.sureness) == (Decimal(3), Decimal(2), "estimated")
    assert only(advise(unknown), "vector_stores").saving is None


def test_accounts_near_their_limits_are_named_the_refused_ones_first() -> None:
    states = [
        LimitState("user:a@day", "user/day", "tokens", Decimal(100), Decimal(79)),
        LimitState("user:b@day", "user/day", "tokens", Decimal(100), Decimal(85), user="b"),
        LimitState("user:c@day", "user/day", "cost", Decimal("1.50"), Decimal(1), refusals=3, user="c"),
    ]

    states.append(LimitState("tenant:d@month", "tenant/month", "messages", Decimal(10), Decimal(9)))

    first, third, second = advise(History("ledger", limits=states)).suggestions

    assert first.title == "c has spent 67% of user/day. 3 requests were refused."
    assert first.setting.startswith("bot.set_budget('c', cost='1.50', budget='user/day')")
    assert second.setting.startswith("bot.set_budget('b', tokens=100, budget='user/day')")
    assert third.setting.startswith("bot.set_budget(tenant='d', messages=10, budget='tenant/month')")
    assert (first.saving, first.sureness) == (None, "unknown")


def test_a_cheaper_model_without_a_price_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="'nobody-knows-it', which has no known price"):
        advise(History("events"), prices=PRICES, cheaper="nobody-knows-it")


def test_the_document_has_money_as_text_and_the_dearest_first(tmp_path: Path) -> None:
    log = Log(fixed=2_000)
    for _ in range(40):
        log.turn(200, 300, steps=1)

    document = advice_document(advice_on(log, tmp_path))

    savings = [Decimal(each["saving"]) for each in document["suggestions"]]
    assert savings == sorted(savings, reverse=True)
    assert document["cost"] == f"{log.cost:.6f}"
    assert (document["turns"], document["calls"], document["error"]) == (40, 80, 0.0)
