"""The demo tells the story and takes its figures from the sandbox's bill."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator

import pytest
from rich.console import Console

from assistantguard.demo import run
from assistantguard.demo.model import ScriptedModel
from assistantguard.demo.play import Bill, play
from assistantguard.demo.stage import Stage
from assistantguard.demo.story import Story, load_story
from assistantguard.sandbox import Fault, FunctionCall, ModelRequest, Sandbox
from assistantguard.sandbox.script import Scripted


def plain_console(width: int = 80, encoding: str = "utf-8") -> tuple[Console, io.BytesIO]:
    raw = io.BytesIO()
    return Console(file=io.TextIOWrapper(raw, encoding=encoding, write_through=True), width=width), raw


@pytest.fixture(scope="module")
def story() -> Story:
    return load_story()


@pytest.fixture(scope="module")
def played(story: Story) -> tuple[str, Bill, Bill]:
    console, raw = plain_console()
    guarded, unguarded = play(story, Stage(console))
    return raw.getvalue().decode(), guarded, unguarded


def test_it_has_sixty_turns_and_each_is_told(played: tuple[str, Bill, Bill], story: Story) -> None:
    assert len(story.turns) == 60
    lines = re.findall(r"^ *(\d+) \S.* calls? +[\d,]+ in +\$[\d.]+$", played[0], re.MULTILINE)
    assert list(map(int, lines)) == list(range(1, 61))


def test_the_special_moments_are_told(played: tuple[str, Bill, Bill]) -> None:
    text = played[0]
    for moment in (
        "files attached once",
        "rate limit: HTTP 429",
        "tool spiral stopped",
        "rotation:",
        "still known",
        "caps",
    ):
        assert moment in text


def test_it_fits_eighty_columns(played: tuple[str, Bill, Bill]) -> None:
    assert max(map(len, played[0].splitlines())) <= 80


def test_both_bills_are_shown_as_they_were_measured(played: tuple[str, Bill, Bill]) -> None:
    text, guarded, unguarded = played
    for bill in (guarded, unguarded):
        for figure in (
            bill.model_calls,
            bill.input_tokens,
            bill.cached_tokens,
            bill.output_tokens,
            bill.largest_context,
        ):
            assert f"{figure:,}" in text.split("The two bills")[1]


def test_the_guard_bounds_what_it_says_it_bounds(played: tuple[str, Bill, Bill], story: Story) -> None:
    _, guarded, unguarded = played
    assert unguarded.model_calls - guarded.model_calls == len(story.shops) - 5
    assert guarded.cost is not None
    assert unguarded.cost is not None
    assert guarded.cost < unguarded.cost
    assert guarded.largest_context < unguarded.largest_context
    assert (guarded.vector_stores, guarded.files_embedded) == (1, len(story.files))
    assert (unguarded.vector_stores, unguarded.files_embedded) == (60, 60 * len(story.files))


def test_both_waited_out_the_same_rate_limit(played: tuple[str, Bill, Bill]) -> None:
    for bill in played[1:]:
        assert bill.requests - bill.model_calls == 2


def test_what_was_needed_from_before_the_rotations_is_still_known(played: tuple[str, Bill, Bill]) -> None:
    _, guarded, unguarded = played
    assert unguarded.values_known == unguarded.values_needed == guarded.values_needed
    assert guarded.values_known >= guarded.values_needed - 1


def test_values_that_a_turn_needs_were_said_or_shown_before_it(story: Story) -> None:
    for number, turn in enumerate(story.turns):
        before = [part for one in story.turns[:number] for part in (one.user, one.answer)] + [turn.user]
        shown = [
            str(story.shop.orders[call.arguments["order_id"]])
            for one in story.turns[:number]
            for step in one.steps
            for call in step
            if call.tool == "look_up_order"
        ]
        for value in turn.needs:
            assert any(value in text for text in before + shown), (number + 1, value)


def test_every_scripted_call_is_answered_by_the_shop(story: Story) -> None:
    for turn in story.turns:
        for step in turn.steps:
            for call in step:
                assert getattr(story.shop, call.tool)(**call.arguments)


def test_sums_in_the_records_add_up(story: Story) -> None:
    for order in story.shop.orders.values():
        lines = sum(float(line["price"]) * line["quantity"] for line in order["lines"])
        total = lines - float(order["club_discount"]) + float(order["surface_freight"])
        assert total == pytest.approx(float(order["total"])), order["order_id"]


def request_of(*items: dict[str, object]) -> ModelRequest:
    return ModelRequest("gpt-6-luna", None, [], list(items), None, "auto", None, 0, {})


def user(text: str) -> dict[str, object]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


def test_the_model_knows_only_what_stands_in_its_context(story: Story) -> None:
    scripted = ScriptedModel(story)
    number = next(number for number, turn in enumerate(story.turns) if turn.needs == ["RT-5521"] and not turn.steps)
    turn = story.turns[number]
    lost = scripted(request_of(user(turn.user)))
    known = scripted(request_of(user("The number is RT-5521."), user(turn.user)))
    assert lost.text != turn.answer
    assert scripted.missing == [(number, "RT-5521")]
    assert known.text == turn.answer
    assert scripted.needed == 2


def test_run_returns_0_and_needs_no_terminal_and_no_unicode() -> None:
    console, raw = plain_console(encoding="ascii")
    assert run(console=console) == 0
    assert b"The two bills" in raw.getvalue()


def test_live_without_a_key_says_so_and_returns_2() -> None:
    console, raw = plain_console(width=200)
    assert run(live=True, console=console) == 2
    assert b"OPENAI_API_KEY" in raw.getvalue()


LIVE: list[Scripted] = [
    FunctionCall("look_up_order", {"order_id": "LK-48213"}),
    "It was delivered.",
    FunctionCall("start_return", {"order_id": "LK-48213", "sku": "TNT-310", "reason": "torn"}),
    "The number is RT-5521.",
    "350.10.",
    "RT-5521.",
    *(FunctionCall("check_stock", {"sku": "BTS-655-41", "shop": shop}) for shop in ("a", "b", "c", "d")),
    "C-20417.",
]


@pytest.fixture
def live_sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    with Sandbox(LIVE) as sandbox:
        monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", sandbox.api_key)
        yield sandbox


def test_live_tells_the_story_in_short_under_a_cap_that_it_names_first(live_sandbox: Sandbox) -> None:
    console, raw = plain_console(width=200)
    assert run(live=True, console=console) == 0
    text = raw.getvalue().decode()
    assert "spends at most $0.0500" in text
    assert "rotation" in text
    assert "the ceiling is 3" in text
    assert f"${live_sandbox.billing.cost:.4f} of at most" in text
    assert live_sandbox.unconsumed == 0
    assert live_sandbox.conversations == []


def test_live_takes_another_model_from_the_environment(live_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASSISTANTGUARD_DEMO_MODEL", "gpt-5-mini")
    console, _ = plain_console()
    run(live=True, console=console)
    assert {call.model for call in live_sandbox.billing.calls} == {"gpt-5-mini"}


def test_live_ends_with_1_and_the_cause_when_openai_does_not_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Sandbox(["Hello"], faults=[Fault.quota(rate=1)]) as sandbox:
        monkeypatch.setenv("OPENAI_BASE_URL", sandbox.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", sandbox.api_key)
        console, raw = plain_console(width=200)
        assert run(live=True, console=console) == 1
    assert b"QuotaExhausted" in raw.getvalue()
    assert sandbox.conversations == []
