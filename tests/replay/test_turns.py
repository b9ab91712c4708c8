from __future__ import annotations

from typing import Any

from assistantguard.replay.chat_format import ChatMessage
from assistantguard.replay.turns import Notes, split_turns
from tests.replay.chats import assistant, call, tool, user


def split(*messages: dict[str, Any]) -> tuple[Any, Notes, str]:
    notes = Notes()
    instructions, turns = split_turns([ChatMessage.model_validate(message) for message in messages], notes)
    return turns, +notes, instructions


def test_a_turn_is_a_user_message_with_all_tool_steps_up_to_the_answer() -> None:
    turns, notes, instructions = split(
        {"role": "system", "content": "Be brief."},
        user("Where is W1?"),
        assistant("Let me look.", call(1, order="W1")),
        tool(1, "shipped"),
        assistant(None, call(2, parcel="P1")),
        tool(2, "near"),
        assistant("It is near."),
        user("Thanks"),
        assistant("Welcome"),
    )

    assert instructions == "Be brief."
    assert [turn.text for turn in turns] == ["Where is W1?", "Thanks"]
    assert [step.text for step in turns[0].steps] == ["Let me look.", ""]
    assert [step.calls[0].output for step in turns[0].steps] == ['"shipped"', '"near"']
    assert (turns[0].answer, turns[1].answer) == ("It is near.", "Welcome")
    assert not notes


def test_parallel_calls_are_one_step_and_find_their_outputs_in_any_order() -> None:
    turns, notes, _ = split(
        user("Both?"), assistant(None, call(1, a=1), call(2, b=2)), tool(2, "two"), tool(1, "one"), assistant("Done")
    )

    assert [recorded.output for recorded in turns[0].steps[0].calls] == ['"one"', '"two"']
    assert len(turns[0].steps) == 1
    assert not notes


def test_user_messages_in_a_row_are_one_turn() -> None:
    turns, notes, _ = split(user("One"), user("Two"), assistant("Yes"))

    assert [turn.text for turn in turns] == ["One\n\nTwo"]
    assert notes == {"user messages joined with the one before": 1}


def test_a_user_message_without_an_answer_is_left_out_and_counted() -> None:
    turns, notes, _ = split(user("One"), assistant("Yes"), user("Bye"))

    assert [turn.text for turn in turns] == ["One"]
    assert notes == {"user messages without an answer, left out": 1}


def test_a_greeting_before_the_first_user_message_is_left_out_and_counted() -> None:
    turns, notes, _ = split(assistant("Hello, I am here to help."), user("One"), assistant("Yes"))

    assert len(turns) == 1
    assert notes == {"assistant messages before the first user message, left out": 1}


def test_assistant_messages_in_a_row_are_one_answer() -> None:
    turns, notes, _ = split(user("One"), assistant("Yes."), assistant("And more."), user("Two"), assistant("No"))

    assert turns[0].answer == "Yes.\n\nAnd more."
    assert notes == {"assistant messages joined with the one before": 1}


def test_text_before_a_call_in_its_own_message_belongs_to_the_step() -> None:
    turns, _, _ = split(user("One"), assistant("A moment."), assistant(None, call(1)), tool(1, "x"), assistant("Ok"))

    assert turns[0].steps[0].text == "A moment."
    assert turns[0].answer == "Ok"


def test_a_call_without_an_output_is_kept_and_counted() -> None:
    turns, notes, _ = split(user("One"), assistant(None, call(1)), assistant("No answer came."))

    assert turns[0].steps[0].calls[0].output is None
    assert turns[0].answer == "No answer came."
    assert notes == {"tool calls without an output": 1}


def test_a_late_output_still_finds_its_call() -> None:
    turns, notes, _ = split(
        user("One"), assistant(None, call(1)), assistant("Wait."), user("Two"), tool(1, "late"), assistant("Ok")
    )

    assert turns[0].steps[0].calls[0].output == '"late"'
    assert not notes


def test_an_output_without_a_call_is_left_out_and_counted() -> None:
    turns, notes, _ = split(user("One"), tool(9, "whose?"), assistant("Ok"))

    assert turns[0].steps == ()
    assert notes == {"tool outputs without a call, left out": 1}


def test_a_turn_that_ends_with_tool_outputs_has_no_answer() -> None:
    turns, notes, _ = split(user("A person, please"), assistant(None, call(1, "transfer")), tool(1, "ok"))

    assert turns[0].answer is None
    assert notes == {"turns that end with tool outputs": 1}


def test_later_system_messages_are_played_with_the_next_user_message() -> None:
    turns, notes, instructions = split(
        {"role": "developer", "content": "Be brief."},
        user("One"),
        assistant("Yes"),
        {"role": "system", "content": "The shop is closed."},
        user("Two"),
        assistant("No"),
    )

    assert instructions == "Be brief."
    assert turns[1].text == "The shop is closed.\n\nTwo"
    assert notes == {"later system messages, played with the next user message": 1}


def test_parts_that_are_no_text_are_named_and_counted() -> None:
    turns, notes, _ = split(
        {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image_url", "image_url": {}}]},
        assistant("Nice"),
    )

    assert turns[0].text == "See\n[image_url]"
    assert notes == {"messages with images, sound or files, of which only the text is played": 1}


def test_a_refusal_is_an_answer() -> None:
    turns, _, _ = split(user("One"), {"role": "assistant", "content": None, "refusal": "I cannot."})

    assert turns[0].answer == "I cannot."


def test_a_user_message_without_text_is_played_all_the_same() -> None:
    turns, notes, _ = split(user(None), assistant("Yes?"))

    assert turns[0].text == "(no text)"
    assert notes == {"user messages without text": 1}


def test_the_same_call_id_in_two_turns_is_two_calls() -> None:
    turns, _, _ = split(
        user("One"),
        assistant(None, call(1)),
        tool(1, "first"),
        assistant("a"),
        user("Two"),
        assistant(None, call(1)),
        tool(1, "second"),
        assistant("b"),
    )

    assert [turn.steps[0].calls[0].output for turn in turns] == ['"first"', '"second"']
