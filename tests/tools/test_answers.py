from __future__ import annotations

import asyncio
import dataclasses
import enum
import json
from datetime import date
from decimal import Decimal
from typing import Annotated, Any

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assistantguard.models import ToolCall, ToolOutput
from assistantguard.tools import Prepared, Toolbox, ToolError, failure_of, output_of, prepare

_CALL = ToolCall("call_1", "lookup")


class Order(pydantic.BaseModel):
    id: str
    total: Decimal


@dataclasses.dataclass
class Point:
    x: int
    day: date


class Color(str, enum.Enum):
    RED = "red"


def _no_bad_luck(value: int) -> int:
    if value == 13:
        raise RuntimeError("no 13\nand a trace")
    return value


def lookup(order_id: str, limit: Annotated[int, pydantic.AfterValidator(_no_bad_luck)] = 3) -> str:
    return f"{order_id} {limit}"


_BOX = Toolbox([lookup, {"type": "function", "name": "ask"}, {"type": "web_search"}])


def _prepared(arguments: dict[str, Any]) -> Prepared | ToolOutput:
    return prepare(_BOX, ToolCall("call_1", "lookup", arguments))


def test_a_call_that_fits_is_ready_to_run() -> None:
    prepared = _prepared({"order_id": "W1", "limit": "5"})

    assert isinstance(prepared, Prepared)
    assert prepared.call.id == "call_1"
    assert prepared.run() == "W1 5"


def test_an_async_functions_call_gives_something_to_await() -> None:
    async def fetch(order_id: str) -> str:
        await asyncio.sleep(0)
        return order_id

    prepared = prepare(Toolbox([fetch]), ToolCall("call_1", "fetch", {"order_id": "W1"}))

    assert isinstance(prepared, Prepared)
    assert asyncio.run(prepared.run()) == "W1"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({}, "Invalid arguments for lookup: order_id is missing"),
        (
            {"order_id": "W1", "limit": "many"},
            (
                "Invalid arguments for lookup: limit: Input should be a valid integer, unable to parse string as"
                " an integer, not 'many'"
            ),
        ),
        (
            {"order_id": None, "color": 1},
            (
                "Invalid arguments for lookup: order_id: Input should be a valid string, not None;"
                " color is not an argument"
            ),
        ),
        ({"order_id": "W1", "limit": 13}, "Invalid arguments for lookup: RuntimeError: no 13"),
    ],
)
def test_arguments_that_do_not_fit_are_told_in_one_line(arguments: dict[str, Any], expected: str) -> None:
    output = _prepared(arguments)

    assert output == ToolOutput("call_1", expected, failed=True, error_type="InvalidArguments")


def test_arguments_that_are_no_json_are_told_in_one_line() -> None:
    call = ToolCall("call_1", "lookup", arguments_json="{", invalid="Expecting value: line 1\ncolumn 2")
    output = prepare(_BOX, call)

    assert output == ToolOutput(
        "call_1",
        "Invalid arguments for lookup: Expecting value: line 1. Give one JSON object.",
        failed=True,
        error_type="InvalidArguments",
    )


def test_a_tool_that_does_not_exist_is_answered_with_those_that_do() -> None:
    output = prepare(_BOX, ToolCall("call_1", "nobody"))
    alone = prepare(Toolbox(), ToolCall("call_1", "nobody"))

    assert isinstance(output, ToolOutput)
    assert output.output == "There is no tool named 'nobody'. The tools are: lookup, ask"
    assert (output.failed, output.error_type) == (True, "UnknownTool")
    assert isinstance(alone, ToolOutput)
    assert alone.output == "There is no tool named 'nobody', and there are no others."


def test_a_schema_without_a_function_is_answered_with_a_failure() -> None:
    output = prepare(_BOX, ToolCall("call_1", "ask"))

    assert isinstance(output, ToolOutput)
    assert (output.failed, output.error_type) == (True, "UnansweredTool")


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        ("plain text", "plain text"),
        ("", ""),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (Decimal("19.90"), '"19.90"'),
        (Color.RED, "red"),
        ({"a": [1, None, "é"]}, '{"a":[1,null,"é"]}'),
        ([Color.RED], '["red"]'),
        (Order(id="W1", total=Decimal("19.90")), '{"id":"W1","total":"19.90"}'),
        (Point(1, date(2026, 11, 22)), '{"x":1,"day":"2026-11-22"}'),
        (float("nan"), '"NaN"'),
    ],
)
def test_a_result_becomes_text(result: Any, expected: str) -> None:
    assert output_of(_CALL, result) == ToolOutput("call_1", expected)


def test_what_cannot_become_json_is_a_failure() -> None:
    loop: list[Any] = []
    loop.append(loop)

    for result in (object(), b"\xff", loop, {1: object()}):
        output = output_of(_CALL, result)

        assert output.failed
        assert output.output == (f"The tool lookup returned a {type(result).__name__}, which cannot become JSON.")


def test_a_coroutine_that_nobody_awaited_is_a_failure_and_makes_no_noise() -> None:
    async def never() -> None:
        pass

    assert output_of(_CALL, never()).failed


@given(st.text(st.characters(exclude_categories=[])), st.integers(200, 400))
def test_every_output_can_be_sent_and_keeps_to_its_bound(text: str, bound: int) -> None:
    for output in (output_of(_CALL, text * 20, max_characters=bound), failure_of(_CALL, ToolError(text * 20))):
        json.dumps(output.output, ensure_ascii=False).encode()
        assert len(output.output) <= max(bound, 500)


def test_an_output_over_its_bound_is_cut_and_says_so() -> None:
    output = output_of(_CALL, "x" * 10_000, max_characters=200).output

    assert len(output) == 200
    assert output.startswith("xxx")
    assert output.endswith("\n[cut off: 10,000 characters, only the first 200 at most are shown]")
    assert output_of(_CALL, "x" * 200, max_characters=200).output == "x" * 200


class _Wordless(Exception):
    def __str__(self) -> str:
        raise RuntimeError


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ToolError("No such order. Ask for its number."), "No such order. Ask for its number."),
        (ToolError("one line\nanother"), "one line"),
        (ToolError(), "ToolError"),
        (ValueError("bad id\n  File secret.py"), "ValueError: bad id"),
        (KeyError("W1"), "KeyError: 'W1'"),
        (ZeroDivisionError(), "ZeroDivisionError"),
        (RuntimeError("\n\n  late  \n"), "RuntimeError: late"),
        (TimeoutError("no answer within 30 s"), "TimeoutError: no answer within 30 s"),
        (_Wordless(), "_Wordless"),
        (RuntimeError("x" * 9_000), f"RuntimeError: {'x' * 485}…"),
    ],
)
def test_an_exception_becomes_one_line_without_a_stack_trace(error: Exception, expected: str) -> None:
    output = failure_of(_CALL, error)

    assert output == ToolOutput("call_1", expected, failed=True, error_type=type(error).__name__)


def test_a_tools_own_validation_error_is_condensed() -> None:
    with pytest.raises(pydantic.ValidationError) as caught:
        Order.model_validate({"total": "much"})

    output = failure_of(_CALL, caught.value).output

    assert output == ("ValidationError: id is missing; total: Input should be a valid decimal, not 'much'")


def test_many_problems_are_counted_instead_of_listed() -> None:
    output = _prepared({f"unknown_{number}": number for number in range(20)})

    assert isinstance(output, ToolOutput)
    assert output.output.endswith("unknown_3 is not an argument; and 16 more")
    assert "\n" not in output.output
