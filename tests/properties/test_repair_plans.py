"""`plan_repair`: after its plan is carried out there is no open call and no half turn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from assistantguard.engine.healing import Repair, mark_of, plan_repair
from assistantguard.models import Item

_texts = st.sampled_from(["yes", "Where is it?", "and then?"])


@dataclass(frozen=True)
class _Case:
    """A conversation in which the last attempt did not end well."""

    settled: tuple[Item, ...]
    """Oldest first, as the last settled request left it."""
    left: tuple[Item, ...]
    """What the attempt left behind it."""
    unsettled: tuple[Mapping[str, Any], ...]
    """What the attempt had sent."""
    knows_last: bool


@st.composite
def _settled(draw: st.DrawFn) -> list[Item]:
    items: list[Item] = []
    for turn in range(draw(st.integers(0, 3))):
        items.append(Item("message", draw(_texts), role="user"))
        for step in range(draw(st.integers(0, 2))):
            ids = [f"call_{turn}_{step}_{number}" for number in range(draw(st.integers(1, 2)))]
            if draw(st.booleans()):
                items.append(Item("reasoning"))
            items += [Item("function_call", "{}", call_id=call_id, name="lookup") for call_id in ids]
            items += [Item("function_call_output", "found", call_id=call_id) for call_id in ids]
        if draw(st.integers(0, 3)):
            items.append(Item("message", "An answer.", role="assistant", status="completed"))
    return items


@st.composite
def _cases(draw: st.DrawFn) -> _Case:
    settled = draw(_settled())
    sent: list[Mapping[str, Any]]
    attempt: list[Item]
    if draw(st.booleans()):
        ids = [f"call_now_{number}" for number in range(draw(st.integers(1, 2)))]
        settled.append(Item("message", "The message of the turn.", role="user"))
        settled += [Item("function_call", "{}", call_id=call_id, name="lookup") for call_id in ids]
        sent = [{"type": "function_call_output", "call_id": call_id, "output": "found"} for call_id in ids]
        attempt = [Item("function_call_output", "found", call_id=call_id) for call_id in ids]
    else:
        text = f"{draw(_texts)} (now)"
        sent = [{"type": "message", "role": "user", "content": text}]
        attempt = [Item("message", text, role="user")]
    if draw(st.booleans()):
        attempt.append(Item("reasoning"))
    if draw(st.booleans()):
        status = draw(st.sampled_from(["completed", "incomplete", "in_progress"]))
        attempt.append(Item("message", "As far as I", role="assistant", status=status))
    if draw(st.booleans()):
        attempt.append(Item("function_call", "{}", call_id="call_of_the_attempt", name="lookup"))
    left = attempt[: draw(st.sampled_from([0, len(sent), len(attempt)]))]
    numbered = [replace(item, id=f"item_{number}") for number, item in enumerate([*settled, *left])]
    cut = len(settled)
    return _Case(tuple(numbered[:cut]), tuple(numbered[cut:]), tuple(sent), draw(st.booleans()) and cut > 0)


def _plan(case: _Case, *, coming: Sequence[str] = ()) -> Repair:
    newest_first = [*case.settled, *case.left][::-1]
    last = case.settled[-1].id if case.knows_last else None
    return plan_repair(newest_first, [mark_of(item) for item in case.unsettled], last, expected_outputs=coming)


def _carried_out(case: _Case, repair: Repair) -> list[Item]:
    kept = [item for item in [*case.settled, *case.left] if item.id not in repair.delete]
    return kept + [Item("function_call_output", answer.output, call_id=answer.call_id) for answer in repair.answer]


def _open_calls(items: Sequence[Item]) -> set[str | None]:
    answered = {item.call_id for item in items if item.type == "function_call_output"}
    return {item.call_id for item in items if item.type == "function_call"} - answered


@given(_cases())
def test_no_call_is_open_and_no_half_turn_stands_after_a_repair(case: _Case) -> None:
    after = _carried_out(case, _plan(case))

    assert _open_calls(after) == set()
    assert not set(after) & set(case.left)


@given(_cases())
def test_a_repair_deletes_nothing_that_was_settled(case: _Case) -> None:
    repair = _plan(case)

    assert not {item.id for item in case.settled} & set(repair.delete)


@given(_cases())
def test_a_call_whose_output_is_on_its_way_is_not_answered(case: _Case) -> None:
    sent = [str(item["call_id"]) for item in case.unsettled if "call_id" in item]

    repair = _plan(case, coming=sent)

    assert {answer.call_id for answer in repair.answer} & set(sent) == set()
    assert _open_calls(_carried_out(case, repair)) <= set(sent)


@given(_cases())
def test_items_are_deleted_newest_first(case: _Case) -> None:
    repair = _plan(case)

    assert list(repair.delete) == [item.id for item in case.left[::-1]]


@given(_settled())
def test_a_conversation_that_is_whole_is_left_alone(settled: list[Item]) -> None:
    numbered = [replace(item, id=f"item_{number}") for number, item in enumerate(settled)]

    assert not plan_repair(numbered[::-1], [], None).needed
