"""No way around: every entry point of the boundary table, on a budget of four calls, whatever the application does."""

from __future__ import annotations

import functools
import inspect
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import openai
import pytest

from assistantguard import Budget
from assistantguard.dropin.boundary import BOUNDARY
from assistantguard.dropin.page import boundary
from assistantguard.sandbox import Sandbox
from tests.dropin.guarded import OUTPUT, UNKNOWN, WAYS, Caller, answering, caller_for
from tests.support.world import MODEL, World

README = Path(__file__).parents[2] / "README.md"
CALLS = 4
SILENT: dict[str, Any] = {"usage_reported": False}
ENDINGS: dict[str, dict[str, Any]] = {
    "completed, usage unknown": SILENT,
    "failed": {"status": "failed"},
    "failed, usage unknown": {"status": "failed", **SILENT},
    "incomplete": {"status": "incomplete", "incomplete_reason": "content_filter"},
}


@functools.cache
def price_of(way: str, model: str) -> int:
    """The tokens that one call of a way bills."""
    with World("sync") as world, Sandbox(answering(), model_in_thread=False) as sandbox:
        caller = caller_for(world, sandbox, [])
        caller.try_call(way, model)
        return caller.billed


def on_a_budget(world: World, sandbox: Sandbox, way: str, model: str = MODEL, **options: Any) -> tuple[Caller, int]:
    """A caller with a budget of four calls, and that budget in tokens."""
    tokens = CALLS * price_of(way, model)
    return caller_for(world, sandbox, [Budget("application", "day", tokens=tokens, wait=0.0)], **options), tokens


def refused(results: Sequence[Any]) -> list[openai.RateLimitError]:
    found = [result for result in results if isinstance(result, openai.RateLimitError)]
    assert all(error.code in {"budget_exceeded", "budget_busy"} for error in found)
    return found


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_twenty_calls_in_a_loop_that_swallows_errors_bill_no_more_than_the_budget(world: World, way: str) -> None:
    caller, tokens = on_a_budget(world, world.sandbox(answering()), way)
    results = [caller.try_call(way) for _ in range(20)]
    assert CALLS - 1 <= len(caller.sandbox.billing.calls) <= CALLS
    assert tokens - OUTPUT - 64 <= caller.billed <= tokens
    assert len(refused(results)) >= 20 - CALLS
    assert isinstance(results[-1], openai.RateLimitError)


def test_thirty_two_calls_at_once_bill_no_more_than_the_budget(world: World, way: str) -> None:
    caller, tokens = on_a_budget(world, world.sandbox(answering()), way)
    results = world.at_once(*[lambda: caller.call(way)] * 32)
    assert 0 < caller.billed <= tokens
    assert len(refused(results)) >= 32 - CALLS


@pytest.mark.parametrize("on_disconnect", ["stop", "complete"])
def test_calls_that_are_left_early_bill_no_more_than_the_budget(world: World, way: str, on_disconnect: str) -> None:
    caller, tokens = on_a_budget(world, world.sandbox(answering(), on_disconnect=on_disconnect), way)
    results = [caller.try_call(way, leaves=True) for _ in range(20)]
    assert 0 < caller.billed <= tokens
    assert refused(results)


@pytest.mark.parametrize("ending", ENDINGS)
def test_answers_of_every_ending_bill_no_more_than_the_budget(world: World, way: str, ending: str) -> None:
    caller, tokens = on_a_budget(world, world.sandbox(answering(**ENDINGS[ending])), way)
    results = [caller.try_call(way) for _ in range(20)]
    assert caller.billed <= tokens
    assert refused(results) or not caller.billed


def test_a_model_that_nobody_knows_bills_no_more_than_the_budget(world: World, way: str) -> None:
    caller, tokens = on_a_budget(world, world.sandbox(answering()), way, UNKNOWN)
    results = [caller.try_call(way, UNKNOWN) for _ in range(20)]
    assert 0 < caller.billed <= tokens
    assert refused(results)


def test_every_way_that_the_table_calls_bounded_is_run_here_or_with_a_server_of_its_own() -> None:
    said = {way for row in BOUNDARY for way in row.ways}
    assert said - {"responses.compact"} == set(WAYS)


def test_the_readme_has_the_table_as_the_code_prints_it() -> None:
    command = [sys.executable, "-W", "error", "-m", "assistantguard.dropin", "boundary"]
    printed = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout
    assert printed == boundary()
    assert printed in README.read_text(encoding="utf-8"), "print it: python -m assistantguard.dropin boundary"


def methods(resource: Any, path: str = "") -> Iterator[str]:
    """The dotted names of the methods below a part of a client."""
    for name in dir(type(resource)):
        if name.startswith(("_", "with_")):
            continue
        value = getattr(resource, name, None)
        if inspect.isroutine(value):
            if path:
                yield f"{path}{name}"
        elif ".resources." in type(value).__module__:
            yield from methods(value, f"{path}{name}.")


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_the_table_speaks_of_every_method_of_the_client(kind: Any) -> None:
    covered = [name for row in BOUNDARY for name in row.covers]
    assert len(covered) == len(set(covered))
    unnamed = [
        method
        for method in methods(kind(api_key="sk-x"))
        if not any(method == name or method.startswith(f"{name}.") for name in covered)
    ]
    assert not unnamed
