"""Wrong configuration fails at construction, with a message that says the value, the limit and the mend."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import openai
import pytest

from assistantguard import (
    Assistant,
    AssistantGuard,
    AsyncAssistantGuard,
    CarryOver,
    ConfigurationError,
    CostCap,
    JsonLinesSink,
    RepeatedCallBreaker,
    ThreadRotation,
    TokenCap,
    ToolCall,
    ToolStepCeiling,
    TransientRetry,
    VectorStoreReuse,
    default_policies,
    observe,
)
from tests.support.world import MODEL

CLIENT = openai.OpenAI(api_key="sk-test", base_url="http://127.0.0.1:9/v1")
ASSISTANT = Assistant(model=MODEL)


def guard(policies: Any = None, assistant: Any = ASSISTANT, client: Any = CLIENT, **options: Any) -> AssistantGuard:
    return AssistantGuard(client, assistant, policies, **options)


async def waiting() -> str:
    """Wait."""
    return "done"


def untyped(order, /, *rest):  # type: ignore[no-untyped-def]
    """Take anything."""


def lookup(order: str) -> str:
    """Find an order."""
    return order


WRONG: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "no model": (lambda: Assistant(model=""), ["model", "''", "gpt-6-luna"]),
    "model of another kind": (lambda: Assistant(model=7), ["7"]),  # type: ignore[arg-type]
    "too many instructions": (lambda: Assistant(model=MODEL, instructions="x" * 256_001), ["256,001", "256,000"]),
    "tools are no list": (lambda: Assistant(model=MODEL, tools=lookup), ["tools=[lookup]"]),  # type: ignore[arg-type]
    "too many tools": (lambda: Assistant(model=MODEL, tools=[lookup] * 129), ["129", "128"]),
    "too few output tokens": (lambda: Assistant(model=MODEL, max_output_tokens=15), ["15", "16"]),
    "temperature": (lambda: Assistant(model=MODEL, temperature=2.1), ["2.1", "0 and 2"]),
    "top_p": (lambda: Assistant(model=MODEL, top_p=-0.1), ["-0.1", "0 and 1"]),
    "too much metadata": (lambda: Assistant(model=MODEL, metadata={str(n): "x" for n in range(17)}), ["17", "16"]),
    "long metadata": (lambda: Assistant(model=MODEL, metadata={"k": "x" * 513}), ["513", "512"]),
    "no assistant": (lambda: guard(assistant="gpt-6-luna"), ["'gpt-6-luna'", "Assistant("]),
    "no client": (lambda: guard(client=None), ["NoneType", "openai"]),
    "a client of the other colour": (
        lambda: guard(client=openai.AsyncOpenAI(api_key="sk-test")),
        ["AsyncOpenAI", "AsyncAssistantGuard"],
    ),
    "a client of the other colour, async": (
        lambda: AsyncAssistantGuard(CLIENT, ASSISTANT),  # type: ignore[arg-type]
        ["OpenAI", "AssistantGuard"],
    ),
    "two tools of one name": (lambda: guard(assistant=Assistant(model=MODEL, tools=[lookup, lookup])), ["'lookup'"]),
    "an async tool": (lambda: guard(assistant=Assistant(model=MODEL, tools=[waiting])), ["'waiting'", "Async"]),
    "a tool that is none": (lambda: guard(assistant=Assistant(model=MODEL, tools=[7])), ["7"]),  # type: ignore[list-item]
    "a schema without a type": (lambda: guard(assistant=Assistant(model=MODEL, tools=[{"name": "x"}])), ["type"]),
    "a schema with a bad name": (
        lambda: guard(assistant=Assistant(model=MODEL, tools=[{"type": "function", "name": "a b"}])),
        ["'a b'", "64"],
    ),
    "policies are no list": (lambda: guard(ToolStepCeiling(3)), ["ToolStepCeiling", "policies=["]),
    "a policy that is none": (lambda: guard(["ToolStepCeiling"]), ["'ToolStepCeiling'"]),
    "a policy's class": (lambda: guard([ToolStepCeiling]), ["ToolStepCeiling"]),
    "policies and short form": (lambda: guard([], max_turns=3), ["max_turns", "policies"]),
    "run_timeout": (lambda: guard(run_timeout=0), ["run_timeout", "0"]),
    "run_timeout without end": (lambda: guard(run_timeout=float("inf")), ["run_timeout", "inf"]),
    "run_timeout as text": (lambda: guard(run_timeout="180"), ["run_timeout", "'180'"]),
    "tool_timeout": (lambda: guard(tool_timeout=-1), ["tool_timeout", "-1"]),
    "max_parallel_tools": (lambda: guard(max_parallel_tools=0), ["max_parallel_tools", "0", "at least 1"]),
    "max_tool_output_characters": (
        lambda: guard(max_tool_output_characters=3),
        ["max_tool_output_characters", "3", "200"],
    ),
    "an unpriced model under a dollar cap": (
        lambda: guard([CostCap(session=1)], Assistant(model="house-1")),
        ["house-1", "prices="],
    ),
    "an unpriced tier under a dollar cap": (
        lambda: guard([CostCap(session=1)], Assistant(model=MODEL, service_tier="nowhere")),
        ["nowhere", "prices="],
    ),
    "an observed dollar cap on an unpriced model": (
        lambda: guard([observe(CostCap(session=1))], Assistant(model="house-1")),
        ["house-1"],
    ),
    "events into nowhere": (lambda: guard(events="/nowhere/at/all.jsonl"), ["/nowhere/at/all.jsonl", "folder"]),
    "a sink into a folder": (lambda: JsonLinesSink("/"), ["'/'"]),
    "ThreadRotation 0": (lambda: ThreadRotation(0), ["max_turns", "0", "at least 1"]),
    "ThreadRotation half": (lambda: ThreadRotation(1.5), ["1.5", "whole number"]),  # type: ignore[arg-type]
    "ThreadRotation history": (lambda: ThreadRotation(max_history_tokens=5), ["max_history_tokens", "5", "256"]),
    "ThreadRotation min_turns": (lambda: ThreadRotation(min_turns=0), ["min_turns", "0"]),
    "ThreadRotation context": (lambda: ThreadRotation(max_context_tokens=10), ["10", "256"]),
    "ThreadRotation age": (lambda: ThreadRotation(max_age=0.5), ["max_age", "0.5"]),
    "ThreadRotation old": (lambda: ThreadRotation(old="burn"), ["'burn'", "'keep'"]),  # type: ignore[arg-type]
    "ThreadRotation carry": (lambda: ThreadRotation(carry_over=5), ["carry_over", "5"]),  # type: ignore[arg-type]
    "CarryOver": (lambda: CarryOver(tail_turns=-1), ["tail_turns", "-1"]),
    "CarryOver small": (lambda: CarryOver(digest_tokens=5), ["digest_tokens", "5"]),
    "ToolStepCeiling 0": (lambda: ToolStepCeiling(0), ["max_steps", "0"]),
    "ToolStepCeiling bool": (lambda: ToolStepCeiling(True), ["max_steps", "True"]),
    "ToolStepCeiling calls": (lambda: ToolStepCeiling(max_calls=-2), ["max_calls", "-2"]),
    "ToolStepCeiling nothing": (lambda: ToolStepCeiling(None), ["bounds nothing"]),
    "ToolStepCeiling then": (lambda: ToolStepCeiling(3, then="panic"), ["'panic'", "'wrap_up'"]),  # type: ignore[arg-type]
    "RepeatedCallBreaker": (lambda: RepeatedCallBreaker(0), ["max_repeats", "0"]),
    "TransientRetry 0": (lambda: TransientRetry(0), ["max_attempts", "0"]),
    "TransientRetry wait": (lambda: TransientRetry(wait=3), ["wait", "3", "tenacity"]),  # type: ignore[arg-type]
    "TransientRetry stop": (lambda: TransientRetry(stop="now"), ["stop", "'now'"]),  # type: ignore[arg-type]
    "TransientRetry max_wait": (lambda: TransientRetry(max_wait=-1), ["max_wait", "-1"]),
    "VectorStoreReuse days": (lambda: VectorStoreReuse(expires_after_days=366), ["366", "1 to 365"]),
    "VectorStoreReuse timeout": (lambda: VectorStoreReuse(timeout=0), ["timeout", "0"]),
    "TokenCap nothing": (TokenCap, ["caps nothing"]),
    "TokenCap small": (lambda: TokenCap(session=5), ["session", "5", "32"]),
    "TokenCap text": (lambda: TokenCap(run="many"), ["run", "'many'"]),  # type: ignore[arg-type]
    "TokenCap counting": (lambda: TokenCap(100, counting="maybe"), ["'maybe'", "'near'"]),  # type: ignore[arg-type]
    "TokenCap wait": (lambda: TokenCap(100, wait=-1), ["wait", "-1"]),
    "CostCap nothing": (CostCap, ["caps nothing"]),
    "CostCap free": (lambda: CostCap(session=0), ["session", "0"]),
    "CostCap text": (lambda: CostCap(run="two dollars"), ["'two dollars'", "2.50"]),
    "CostCap infinite": (lambda: CostCap(run=float("inf")), ["inf"]),
    "observe nothing": (lambda: observe("TokenCap"), ["'TokenCap'"]),  # type: ignore[arg-type]
    "short form": (lambda: guard(max_tool_call_steps=0), ["max_steps", "0"]),
    "short form retries": (lambda: guard(max_transient_retries=-1), ["0"]),
    "short form tokens": (lambda: guard(session_token_ceiling=1), ["session", "1", "32"]),
    "default_policies": (lambda: default_policies(max_turns=0), ["max_turns", "0"]),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_refused_with_the_value_the_limit_and_the_mend(name: str) -> None:
    make, said = WRONG[name]
    with pytest.raises(ConfigurationError) as caught:
        make()
    for part in said:
        assert part in str(caught.value), f"{part!r} is not said in: {caught.value}"
    assert "\n" not in str(caught.value)


def test_an_async_override_of_the_blocking_guard_is_refused() -> None:
    class Bot(AssistantGuard):
        async def dispatch_tool(self, call: ToolCall) -> Any:
            return "never"

    with pytest.raises(ConfigurationError, match=r"dispatch_tool is async.*AsyncAssistantGuard"):
        Bot(CLIENT, ASSISTANT)


@pytest.mark.parametrize("value", [1, 1.0, "0.5"])
def test_dollars_may_be_given_in_several_ways(value: Any) -> None:
    assert str(CostCap(session=value).session) == str(value)
