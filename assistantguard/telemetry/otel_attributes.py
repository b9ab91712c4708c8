"""The attributes of OpenTelemetry spans: settings, ids, figures and costs, never content.

What is usual is left out (a first attempt, the default service tier, a completed answer): every attribute costs time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.telemetry import otel_names as names

if TYPE_CHECKING:
    from assistantguard.events import RequestSettled, RunSettled
    from assistantguard.models.usage import Usage
    from assistantguard.telemetry.tracing import ModelCall

__all__ = ["of_answer", "of_request", "of_run", "of_run_begun", "of_tool", "of_turn"]

Attributes = dict[str, Any]

_ATTEMPT = names.OWN + "attempt"
_CALLS = names.OWN + "calls"
_CONTEXT_TOKENS = names.OWN + "context_tokens"
_ESTIMATED_TOKENS = names.OWN + "estimated_tokens"
_GENERATION_ID = names.OWN + "generation.id"
_PURPOSE = names.OWN + "purpose"
_RETRIES = names.OWN + "retries"
_RUN_ID = names.OWN + "run.id"
_STATUS = names.OWN + "status"
_STEPS = names.OWN + "steps"
_TURN = names.OWN + "turn"


def of_turn(conversation: str, number: int) -> Attributes:
    """Of a turn that begins: the thread's id, and which turn of it this is."""
    return {names.CONVERSATION_ID: conversation, _TURN: number}


def of_run_begun(conversation: str, run_id: str, model: str, agent: str | None, provider: str | None) -> Attributes:
    """Of a run that begins; the latest conventions know no provider of it."""
    attributes = {
        names.OPERATION_NAME: names.INVOKE_AGENT,
        names.CONVERSATION_ID: conversation,
        names.REQUEST_MODEL: model,
        _RUN_ID: run_id,
    }
    if provider is not None:
        attributes[names.PROVIDER_NAME] = provider
    if agent is not None:
        attributes[names.AGENT_NAME] = agent
    return attributes


def of_run(event: RunSettled, model: str) -> Attributes:
    """Of a run that has ended, and began with this model."""
    usage = event.usage
    attributes: Attributes = {
        _CONTEXT_TOKENS: event.context_tokens,
        names.USAGE_INPUT: usage.input_tokens,
        names.USAGE_OUTPUT: usage.output_tokens,
    }
    if event.status != "completed":
        attributes[_STATUS] = event.status
    if event.model != model:
        attributes[names.REQUEST_MODEL] = event.model
    if event.calls:
        attributes[_STEPS] = event.steps
        attributes[_CALLS] = event.calls
    if event.retries:
        attributes[_RETRIES] = event.retries
    if usage.estimated:
        attributes[_ESTIMATED_TOKENS] = usage.estimated_tokens
    if event.cost is not None:
        attributes[names.COST_USD] = float(event.cost)
    return attributes


def of_request(
    conversation: str, request: ModelCall, attempt: int, provider: str, *, streamed: bool, latest: bool
) -> Attributes:
    """Of a request that is sent."""
    attributes: Attributes = {
        names.OPERATION_NAME: names.CHAT,
        names.PROVIDER_NAME: provider,
        names.REQUEST_MODEL: request.model,
        names.CONVERSATION_ID: conversation,
    }
    if attempt > 1:
        attributes[_ATTEMPT] = attempt
    if request.generation_id is not None:
        attributes[_GENERATION_ID] = request.generation_id
    if request.max_output_tokens is not None:
        attributes[names.REQUEST_MAX_TOKENS] = request.max_output_tokens
    if request.service_tier is not None:
        attributes[names.REQUEST_TIER] = request.service_tier
    if streamed:
        attributes[names.REQUEST_STREAM] = True
    if latest and request.reasoning_effort is not None:
        attributes[names.REQUEST_REASONING_LEVEL] = request.reasoning_effort
    assistant = request.assistant
    if assistant is not None:
        if assistant.temperature is not None:
            attributes[names.REQUEST_TEMPERATURE] = assistant.temperature
        if assistant.top_p is not None:
            attributes[names.REQUEST_TOP_P] = assistant.top_p
    return attributes


def of_answer(event: RequestSettled, *, latest: bool) -> Attributes:
    """Of what came of a request."""
    attributes: Attributes = {}
    if event.status != "completed":
        attributes[_STATUS] = event.status
    if event.purpose != "run":
        attributes[_PURPOSE] = event.purpose
    if event.response_id is not None:
        attributes[names.RESPONSE_ID] = event.response_id
    if event.response_model:
        attributes[names.RESPONSE_MODEL] = event.response_model
    if event.service_tier not in {None, "default"}:
        attributes[names.RESPONSE_TIER] = event.service_tier
    if event.usage.requests:
        _add_usage(attributes, event.usage, latest=latest)
    if event.cost is not None:
        attributes[names.COST_USD] = float(event.cost)
    return attributes


def of_tool(tool: str, call_id: str) -> Attributes:
    """Of a tool call that is answered."""
    return {
        names.OPERATION_NAME: names.EXECUTE_TOOL,
        names.TOOL_NAME: tool,
        names.TOOL_TYPE: "function",
        names.TOOL_CALL_ID: call_id,
    }


def _add_usage(attributes: Attributes, usage: Usage, *, latest: bool) -> None:
    attributes[names.USAGE_INPUT] = usage.input_tokens
    attributes[names.USAGE_OUTPUT] = usage.output_tokens
    if usage.cached_tokens:
        attributes[names.USAGE_CACHE_READ] = usage.cached_tokens
    if usage.cache_write_tokens:
        attributes[names.USAGE_CACHE_WRITE if latest else names.USAGE_CACHE_CREATION] = usage.cache_write_tokens
    if usage.reasoning_tokens:
        attributes[names.USAGE_REASONING] = usage.reasoning_tokens
    if usage.estimated:
        attributes[_ESTIMATED_TOKENS] = usage.estimated_tokens
