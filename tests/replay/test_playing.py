from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistantguard.models.carry_over import CarryOver
from assistantguard.models.items import Item, assistant_message, user_message
from assistantguard.policies import ThreadRotation, ToolStepCeiling
from assistantguard.replay import (
    LastReply,
    RecordedThread,
    Row,
    RowSettings,
    compare,
    custom_row,
    make_threads,
    play_row,
    play_rows,
    read_recordings,
    replay_document,
    standard_rows,
)
from tests.replay.chats import assistant, call, order_file, tool, user, write_lines

BARE = RowSettings("none", guarded=False)
UNTOUCHED = RowSettings("untouched", rotation_only=True, max_turns=1_000, carry_over=CarryOver())


def threads_of(file: Path, chain: int = 1) -> list[RecordedThread]:
    return make_threads(read_recordings(file), chain=chain, choose_model=lambda _model: "gpt-4o")


def play(settings: RowSettings, folder: Path, *conversations: Any, chain: int | None = None) -> Row:
    file = write_lines(folder / "played.jsonl", *conversations)
    return play_row(settings, threads_of(file, chain or len(conversations)))


@pytest.fixture(scope="module")
def long_thread(tmp_path_factory: pytest.TempPathFactory) -> list[RecordedThread]:
    return threads_of(order_file(tmp_path_factory.mktemp("orders"), 6), 6)


def test_without_a_rotation_a_guard_makes_the_same_calls_as_the_bare_client(
    long_thread: list[RecordedThread],
) -> None:
    bare, guarded = play_row(BARE, long_thread), play_row(UNTOUCHED, long_thread)

    assert bare.model_calls == guarded.model_calls == 36
    assert bare.input_tokens == guarded.input_tokens
    assert bare.output_tokens == guarded.output_tokens
    assert bare.cost == guarded.cost
    assert (guarded.rotations, guarded.stops) == (0, 0)


def test_without_a_guard_every_earlier_value_stands_in_the_context(long_thread: list[RecordedThread]) -> None:
    bare = play_row(BARE, long_thread)

    assert bare.argument_recall == 1.0
    assert bare.argument_values == 18
    assert bare.cached_tokens > 0


def test_rotation_reads_less_and_shows_what_it_forgets(long_thread: list[RecordedThread]) -> None:
    bare = play_row(BARE, long_thread)
    sketch = play_row(RowSettings("sketch", rotation_only=True, max_turns=2, carry_over=LastReply()), long_thread)

    assert sketch.rotations == 8
    assert sketch.input_tokens < bare.input_tokens
    assert sketch.largest_context < bare.largest_context
    assert sketch.argument_recall is not None
    assert sketch.argument_recall < 1.0


def test_a_value_that_a_rotation_dropped_is_a_miss_and_one_that_stands_is_a_hit(tmp_path: Path) -> None:
    chat = [
        user("My order is W-1234."),
        assistant("Noted."),
        user("My colour is teal."),
        assistant("Noted too."),
        user("Order it."),
        assistant(None, call(1, order="W-1234", colour="teal")),
        tool(1, "ok"),
        assistant("Done."),
    ]
    forgetful = RowSettings("x", rotation_only=True, max_turns=1, carry_over=_last_user_message)

    row = play(forgetful, tmp_path, chat)

    assert (row.argument_values, row.argument_values_in_context) == (2, 1)


def _last_user_message(items: Any) -> list[Item]:
    return [next(item for item in reversed(items) if item.type == "message" and item.role == "user")]


def test_a_ceiling_stops_a_run_is_counted_and_the_conversation_goes_on(tmp_path: Path) -> None:
    chat = [
        user("Try hard."),
        *(
            message
            for number in range(5)
            for message in (assistant(None, call(number, attempt=number)), tool(number, f"failed {number}"))
        ),
        assistant("I give up."),
        user("Thank you."),
        assistant("You are welcome."),
    ]

    row = play(RowSettings("strict", max_steps=2), tmp_path, chat)

    assert row.stops == 1
    assert row.turns == 2
    assert row.model_calls == 4


def test_untidy_recordings_are_played_to_the_end(tmp_path: Path) -> None:
    chats: list[Any] = [
        [user("One"), assistant(None, call(1), call(2)), tool(2, "only two"), assistant("Ok")],
        [user("A person, please"), assistant(None, call(1, "transfer")), tool(1, "ok")],
        [user(None), assistant("Yes?"), user(""), assistant("", call(1)), tool(1, ""), assistant("")],
        [
            user("Odd"),
            {
                "role": "assistant",
                "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": "{broken"}}],
            },
            {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "ok"}]},
            assistant("Done"),
        ],
    ]
    bare = play(BARE, tmp_path, *chats, chain=2)
    guarded = play(UNTOUCHED, tmp_path, *chats, chain=2)

    assert bare.turns == guarded.turns == 5
    assert bare.model_calls == guarded.model_calls == 9
    assert bare.input_tokens == guarded.input_tokens


def test_rows_do_not_depend_on_how_many_processes_play_them(long_thread: list[RecordedThread]) -> None:
    rows = [BARE, RowSettings("default")]
    ticks: list[str] = []

    together = play_rows(rows, long_thread, jobs=2, on_turn=ticks.append)

    assert together == play_rows(rows, long_thread, jobs=1)
    assert {name: ticks.count(name) for name in ("none", "default")} == {"none": 18, "default": 18}


def test_saving_is_the_share_of_the_baseline_s_input_cost_that_is_not_spent(
    long_thread: list[RecordedThread],
) -> None:
    bare = play_row(BARE, long_thread)
    sketch = play_row(RowSettings("sketch", rotation_only=True, max_turns=2, carry_over=LastReply()), long_thread)
    assert bare.input_cost is not None
    assert sketch.input_cost is not None

    _, compared = compare([bare, sketch])

    assert compared.saving == pytest.approx(1 - float(sketch.input_cost) / float(bare.input_cost))
    assert bare.cost is not None
    assert 0 < bare.input_cost < bare.cost
    assert compared.total_saving is not None
    assert compared.saving is not None
    assert compared.total_saving < compared.saving


def test_the_document_has_the_promised_fields_in_every_row(tmp_path: Path) -> None:
    row = play(BARE, tmp_path, [user("Hello"), assistant("Hello")])

    (document,) = json.loads(json.dumps(replay_document(compare([row]))))["rows"]

    promised = "name model_calls input_tokens cached_tokens output_tokens cost saving largest_context argument_recall"
    assert set(promised.split()) <= set(document)
    assert document["saving"] == 0.0
    assert document["argument_recall"] is None
    assert document["cost"] > 0


def test_the_sketches_carry_the_beginning_of_the_last_reply_and_nothing_else() -> None:
    items = [user_message("a"), assistant_message("first"), user_message("b"), assistant_message("x" * 600)]

    assert LastReply()([*items, user_message("c")]) == [assistant_message("x" * 500)]
    assert LastReply()([user_message("a")]) == []


def test_the_standard_rows_begin_with_none_and_hold_the_default() -> None:
    names = [row.name for row in standard_rows()]

    assert names[0] == "none"
    assert {"sketch-30", "sketch-8", "default"} <= set(names)
    assert len(names) == len(set(names)) >= 6


def test_a_custom_row_is_made_of_what_is_given_and_keeps_the_other_defaults() -> None:
    assert custom_row() is None
    row = custom_row(max_turns=7, digest_tokens=900, max_steps=3)
    assert row is not None

    policies = row.policies()

    rotation = next(policy for policy in policies if isinstance(policy, ThreadRotation))
    ceiling = next(policy for policy in policies if isinstance(policy, ToolStepCeiling))
    assert (rotation.max_turns, ceiling.max_steps) == (7, 3)
    assert rotation.carry_over == CarryOver(digest_tokens=900)
    assert sum(isinstance(policy, ThreadRotation) for policy in policies) == 1
