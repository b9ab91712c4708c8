from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assistantguard.errors import ConfigurationError
from assistantguard.replay import make_threads, read_recordings
from assistantguard.replay.models import model_chooser
from tests.replay.chats import assistant, call, order_chat, order_file, tool, user, write_lines


def same(_model: str | None) -> str:
    return "gpt-6-luna"


def values_of(*conversations: list[dict[str, Any]], folder: Path) -> list[list[str]]:
    """The earlier values of each call of one thread."""
    file = write_lines(folder / "values.jsonl", *conversations)
    (thread,) = make_threads(read_recordings(file), chain=len(conversations), choose_model=same)
    return [list(recorded.earlier_values) for turn in thread.turns for step in turn.steps for recorded in step.calls]


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{not json", "not JSON"),
        ('"text"', "neither an object"),
        ('{"id": 1}', "messages: Field required"),
        ('{"messages": []}', "messages"),
        ('[{"role": "wizard", "content": "x"}]', "message 1 role"),
        ('[{"role": "user", "content": 7}]', "message 1 content"),
        ('[{"role": "user", "content": "x"}, {"role": "tool", "content": "y"}]', "message 2 is a tool output"),
        ('[{"role": "assistant", "tool_calls": [{"id": "c"}]}]', "message 1 tool_calls.0.function"),
        (
            '[{"role": "assistant", "tool_calls": [{"id": "c", "function": {"name": "no spaces"}}]}]',
            "message 1 tool_calls.0.function.name",
        ),
        ('[{"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}]', "uses function_call"),
        ("\udcff", "not JSON"),
    ],
)
def test_a_bad_line_is_named_with_file_and_number_and_skipped(tmp_path: Path, line: str, says: str) -> None:
    good = json.dumps(order_chat(1))
    file = tmp_path / "mixed.jsonl"
    file.write_text(f"{good}\n\n{line}\n{good}\n", encoding="utf-8", errors="surrogateescape")

    recordings = read_recordings(file)

    assert recordings.count == 2
    assert recordings.bad.count == 1
    assert str(recordings.bad.first[0]).startswith(f"{file}:3: ")
    assert says in recordings.bad.first[0].reason


def test_a_line_may_be_an_object_or_a_bare_list(tmp_path: Path) -> None:
    file = write_lines(tmp_path / "both.jsonl", order_chat(1), {"id": 7, "messages": order_chat(2)})

    first, second = read_recordings(file).files[0]

    assert (first.id, second.id) == (f"{file}:1", "7")
    assert len(first.turns) == len(second.turns) == 3


def test_a_conversation_that_nobody_answered_is_left_out_and_counted(tmp_path: Path) -> None:
    recordings = read_recordings(write_lines(tmp_path / "quiet.jsonl", [user("Anyone?")]))

    assert recordings.count == 0
    assert recordings.notes["conversations in which no user message was answered, left out"] == 1


def test_chains_stay_within_a_file_and_keep_its_order(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    recordings = read_recordings(order_file(tmp_path / "a", 3), order_file(tmp_path / "b", 2))

    threads = make_threads(recordings, chain=2, choose_model=same)

    assert [thread.id for thread in threads] == ["chat-1 … chat-2", "chat-3", "chat-1 … chat-2"]
    assert [len(thread.turns) for thread in threads] == [6, 3, 6]
    assert sum(thread.conversations for thread in threads) == 5


def test_a_chain_keeps_the_first_instructions_and_says_so(tmp_path: Path) -> None:
    other = [{"role": "system", "content": "Something else."}, *order_chat(2)[1:]]
    recordings = read_recordings(write_lines(tmp_path / "two.jsonl", order_chat(1), other))

    (thread,) = make_threads(recordings, chain=2, choose_model=same)

    assert thread.instructions.startswith("You help with orders")
    assert recordings.notes["chained conversations with other instructions; the first one's are played"] == 1


def test_tools_are_made_from_the_calls_that_a_thread_holds(tmp_path: Path) -> None:
    (thread,) = make_threads(read_recordings(order_file(tmp_path, 1)), choose_model=same)

    assert [tool["name"] for tool in thread.tools] == ["find_order", "track", "send_bill"]


def test_given_tools_replace_the_made_ones(tmp_path: Path) -> None:
    given = [{"type": "function", "name": "find_order", "parameters": {"type": "object"}}]
    (thread,) = make_threads(read_recordings(order_file(tmp_path, 1)), choose_model=same, tools=given)

    assert list(thread.tools) == given


def test_values_count_when_user_assistant_or_tool_said_them_before(tmp_path: Path) -> None:
    earlier = values_of(
        [
            user("I am Kim, order W77."),
            assistant("Which colour, teal?"),
            user("Yes"),
            assistant(None, call(1, order="W77", colour="teal", shop="Lyon")),
            tool(1, {"price": 125, "ref": "RR-9"}),
            assistant(None, call(2, ref="RR-9", price=125, who="Kim")),
            tool(2, "ok"),
            assistant("Done"),
        ],
        folder=tmp_path,
    )

    assert earlier == [["W77", "teal"], ["RR-9", "125", "Kim"]]


def test_parallel_calls_do_not_see_each_other_s_outputs(tmp_path: Path) -> None:
    earlier = values_of(
        [
            user("Go"),
            assistant(None, call(1, x="alpha"), call(2, x="beta")),
            tool(1, "beta"),
            tool(2, "alpha"),
            assistant("Ok"),
        ],
        folder=tmp_path,
    )

    assert earlier == [[], []]


def test_arguments_alone_do_not_make_a_value_said(tmp_path: Path) -> None:
    earlier = values_of(
        [
            user("Go"),
            assistant(None, call(1, code="ZZ-1")),
            tool(1, "fine"),
            assistant(None, call(2, code="ZZ-1")),
            tool(2, "fine"),
            assistant("Ok"),
        ],
        folder=tmp_path,
    )

    assert earlier == [[], []]


def test_a_value_of_an_earlier_conversation_on_the_thread_counts(tmp_path: Path) -> None:
    first = [user("My number is N-100."), assistant("Noted.")]
    second = [user("Use my number."), assistant(None, call(1, id="N-100")), tool(1, "ok"), assistant("Done")]

    assert values_of(first, second, folder=tmp_path) == [["N-100"]]


def test_the_recorded_model_is_played_where_it_has_a_price() -> None:
    choose = model_chooser()

    assert choose("gpt-4o") == "gpt-4o"
    assert choose("an-in-house-model") == "gpt-6-luna"
    assert choose(None) == "gpt-6-luna"
    assert model_chooser("gpt-4o")("gpt-4.1") == "gpt-4o"


def test_a_named_model_without_a_price_is_refused_with_the_mend() -> None:
    with pytest.raises(ConfigurationError, match=r"'an-in-house-model'.*no known price.*name another"):
        model_chooser("an-in-house-model")
