from __future__ import annotations

import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import openai
import pytest

from assistantguard import PriceBook
from assistantguard.errors import ConfigurationError
from assistantguard.models import Usage
from assistantguard.sandbox import Answer, Fault, FileSearch, Sandbox

MODEL = "gpt-6-luna"
Until = Callable[[Callable[[], object]], None]


@pytest.fixture
def frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock stands still: only `Sandbox.advance` moves the sandbox's."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)


def _booked(sandbox: Sandbox, row: int = 0) -> Decimal | None:
    """What the guard's own price book says of a row of the bill."""
    call = sandbox.billing.calls[row]
    usage = Usage(
        input_tokens=call.input_tokens,
        cached_tokens=call.cached_tokens,
        cache_write_tokens=call.cache_write_tokens,
        output_tokens=call.output_tokens,
    )
    tier = call.completion_window or call.service_tier
    return PriceBook().cost(usage, call.model, tier, tool_calls={"file_search": call.file_searches})


@pytest.mark.parametrize(
    ("asked", "shown", "dearer"),
    [
        ("auto", "default", 1),
        ("default", "default", 1),
        ("flex", "flex", Decimal("0.5")),
        ("priority", "priority", 2),
        ("fast", "priority", 2),
        ("ultrafast", "ultrafast", None),
        ("scale", "scale", None),
    ],
)
def test_a_tier_is_shown_as_it_was_served_and_billed_by_its_price(
    call: Any, asked: str, shown: str, dearer: Decimal | None
) -> None:
    with Sandbox() as sandbox:
        common: dict[str, Any] = {"model": MODEL, "input": "alpha " * 300}
        call(sandbox, "responses.create", **common)
        response = call(sandbox, "responses.create", service_tier=asked, **common)

        standard, row = sandbox.billing.calls
        assert response.service_tier == row.service_tier == shown
        assert standard.cost is not None
        assert row.cost == (None if dearer is None else standard.cost * dearer) == _booked(sandbox, 1)


def test_a_tier_that_is_none_is_refused(call: Any) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(openai.BadRequestError) as caught:
            call(sandbox, "responses.create", model=MODEL, input="Hi", service_tier="slow")
        assert caught.value.param == "service_tier"


def test_flex_processing_without_capacity_is_refused_and_not_charged(call: Any) -> None:
    with Sandbox(faults=[Fault.resource_unavailable(at=1)]) as sandbox:
        with pytest.raises(openai.RateLimitError, match="Resource Unavailable") as caught:
            call(sandbox, "responses.create", model=MODEL, input="Hi", service_tier="flex")

        assert caught.value.code == "resource_unavailable"
        assert sandbox.faults_by_kind == {"resource_unavailable": 1}
        assert sandbox.billing.requests == 0


def _start(call: Any, sandbox: Sandbox, window: str, **asked: Any) -> Any:
    options = {"background_options": {"completion_window": window}, **asked.pop("extra_body", {})}
    common = {"model": MODEL, "input": "alpha " * 300, "background": True}
    return call(sandbox, "responses.create", **{**common, **asked}, extra_body=options)


def _status(call: Any, sandbox: Sandbox, response: Any) -> str:
    return str(call(sandbox, "responses.retrieve", response.id).status)


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize(("window", "seconds", "share"), [("2h", 3600, "0.7"), ("8h", 4 * 3600, "0.6")])
def test_a_completion_window_is_waited_for_and_costs_less(
    call: Any, until: Until, window: str, seconds: int, share: str
) -> None:
    with Sandbox(["now", "later"]) as sandbox:
        call(sandbox, "responses.create", model=MODEL, input="alpha " * 300)
        response = _start(call, sandbox, window)
        sandbox.advance(seconds - 1)
        assert [_status(call, sandbox, response) for _ in range(3)] == ["queued"] * 3
        assert sandbox.billing.requests == 1
        sandbox.advance(1)
        until(lambda: _status(call, sandbox, response) == "completed")

        assert call(sandbox, "responses.retrieve", response.id).output_text == "later"
        standard, row = sandbox.billing.calls
        assert (row.completion_window, row.service_tier) == (window, "default")
        full = PriceBook().cost(Usage(input_tokens=row.input_tokens, output_tokens=row.output_tokens), MODEL)
        assert full is not None
        assert row.cost == full * Decimal(share) == _booked(sandbox, 1)
        assert standard.completion_window is None


@pytest.mark.usefixtures("frozen")
def test_a_window_lowers_the_price_of_tokens_and_not_of_searches(call: Any, until: Until) -> None:
    with Sandbox([Answer("found", file_search=[FileSearch("refunds")])], window_seconds={"2h": 0}) as sandbox:
        file = call(sandbox, "files.create", file=("r.txt", b"refunds take five days"), purpose="assistants").id
        store = call(sandbox, "vector_stores.create", file_ids=[file]).id
        response = _start(call, sandbox, "2h", tools=[{"type": "file_search", "vector_store_ids": [store]}])
        until(lambda: _status(call, sandbox, response) == "completed")

        (row,) = sandbox.billing.calls
        assert row.file_searches == 1
        assert row.cost == _booked(sandbox)
        assert row.cost is not None
        assert row.cost > Decimal("0.0025")


def test_the_soonest_window_begins_at_once_at_the_standard_price(call: Any, until: Until) -> None:
    with Sandbox() as sandbox:
        response = _start(call, sandbox, "soonest")
        until(lambda: _status(call, sandbox, response) == "completed")
        assert sandbox.billing.calls[0].completion_window is None


@pytest.mark.usefixtures("frozen")
def test_work_that_is_cancelled_while_it_waits_costs_nothing(call: Any) -> None:
    with Sandbox(["never", "told"]) as sandbox:
        conversation = call(sandbox, "conversations.create").id
        response = _start(call, sandbox, "8h", conversation=conversation)
        assert call(sandbox, "responses.cancel", response.id).status == "cancelled"
        sandbox.advance(8 * 3600)

        assert _status(call, sandbox, response) == "cancelled"
        assert sandbox.billing.cost == 0
        call(sandbox, "responses.create", model=MODEL, input="Hi", conversation=conversation)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"background": False}, "requires 'background' to be true"),
        ({"stream": True}, "is not supported with 'stream'"),
        ({"service_tier": "flex"}, "is not supported with 'flex' processing"),
        ({"extra_body": {"background_options": {"completion_window": "1h"}}}, "Supported values are: 'soonest'"),
        ({"extra_body": {"background_options": {"window": "2h"}}}, "Unknown parameter: 'background_options.window'"),
    ],
)
def test_a_window_that_cannot_be_is_refused(call: Any, asked: Any, message: str) -> None:
    with Sandbox() as sandbox:
        with pytest.raises(openai.BadRequestError, match=message) as caught:
            _start(call, sandbox, "2h", **asked)
        assert str(caught.value.param).startswith("background_options.")


@pytest.mark.parametrize("seconds", [{"4h": 1.0}, {"2h": -1.0}])
def test_waits_that_cannot_be_are_refused(seconds: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="give 0 seconds or more for the windows 2h and 8h"):
        Sandbox(window_seconds=seconds)
