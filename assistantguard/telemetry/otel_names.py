"""Names of OpenTelemetry's conventions for generative AI, and our own beside them.

The conventions moved to a repository of their own, and the constants of the Python packages are deprecated: so the
names stand here, and nowhere else. `LATEST_OPT_IN` in the environment variable `OPT_IN_VARIABLE` asks for those of the
new repository (its release 0.1.0); without it they are those of release 1.41, which instrumentations emit today.
"""

from __future__ import annotations

import os

__all__ = [
    "AGENT_NAME",
    "AGENT_SECONDS",
    "CALLS_PER_AGENT",
    "CHAT",
    "CONVERSATION_ID",
    "COST",
    "COST_USD",
    "ERROR_TYPE",
    "EXECUTE_TOOL",
    "INPUT_PER_REQUEST",
    "INVOKE_AGENT",
    "LATEST_OPT_IN",
    "OPERATION_NAME",
    "OPERATION_SECONDS",
    "OPT_IN_VARIABLE",
    "OUTPUT_PER_REQUEST",
    "OWN",
    "PROVIDER_NAME",
    "REQUEST_MAX_TOKENS",
    "REQUEST_MODEL",
    "REQUEST_REASONING_LEVEL",
    "REQUEST_SECONDS",
    "REQUEST_STREAM",
    "REQUEST_TEMPERATURE",
    "REQUEST_TIER",
    "REQUEST_TOP_P",
    "RESPONSE_ID",
    "RESPONSE_MODEL",
    "RESPONSE_TIER",
    "TOKEN_MODALITY",
    "TOKEN_TYPE",
    "TOKEN_USAGE",
    "TOOLS_PER_AGENT",
    "TOOL_CALL_ID",
    "TOOL_NAME",
    "TOOL_SECONDS",
    "TOOL_TYPE",
    "TURN",
    "UNPRICED",
    "USAGE_CACHE_CREATION",
    "USAGE_CACHE_READ",
    "USAGE_CACHE_WRITE",
    "USAGE_INPUT",
    "USAGE_OUTPUT",
    "USAGE_REASONING",
    "USED",
    "wants_latest",
]

OPT_IN_VARIABLE = "OTEL_SEMCONV_STABILITY_OPT_IN"
LATEST_OPT_IN = "gen_ai_latest_experimental"

# Operations: the first word of a span's name.
CHAT = "chat"
INVOKE_AGENT = "invoke_agent"
EXECUTE_TOOL = "execute_tool"
TURN = "turn"
"""Ours: the conventions have no word for it."""

# Attributes.
OPERATION_NAME = "gen_ai.operation.name"
PROVIDER_NAME = "gen_ai.provider.name"
CONVERSATION_ID = "gen_ai.conversation.id"
AGENT_NAME = "gen_ai.agent.name"
REQUEST_MODEL = "gen_ai.request.model"
REQUEST_MAX_TOKENS = "gen_ai.request.max_tokens"
REQUEST_TEMPERATURE = "gen_ai.request.temperature"
REQUEST_TOP_P = "gen_ai.request.top_p"
REQUEST_STREAM = "gen_ai.request.stream"
REQUEST_REASONING_LEVEL = "gen_ai.request.reasoning.level"
"""Latest only."""
REQUEST_TIER = "openai.request.service_tier"
RESPONSE_ID = "gen_ai.response.id"
RESPONSE_MODEL = "gen_ai.response.model"
RESPONSE_TIER = "openai.response.service_tier"
USAGE_INPUT = "gen_ai.usage.input_tokens"
USAGE_OUTPUT = "gen_ai.usage.output_tokens"
USAGE_CACHE_READ = "gen_ai.usage.cache_read.input_tokens"
USAGE_CACHE_CREATION = "gen_ai.usage.cache_creation.input_tokens"
"""Until release 1.41."""
USAGE_CACHE_WRITE = "gen_ai.usage.cache_write.input_tokens"
"""In its place, latest."""
USAGE_REASONING = "gen_ai.usage.reasoning.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"  # noqa: S105 - no secret
TOKEN_MODALITY = "gen_ai.token.modality"  # noqa: S105 - likewise
TOOL_NAME = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_CALL_ID = "gen_ai.tool.call.id"
ERROR_TYPE = "error.type"

# Metrics until release 1.41.
TOKEN_USAGE = "gen_ai.client.token.usage"  # noqa: S105 - no secret
OPERATION_SECONDS = "gen_ai.client.operation.duration"

# Metrics, latest.
REQUEST_SECONDS = "gen_ai.client.inference.duration"
USED = "gen_ai.client.inference.usage."
"""Of the counters, whose names end as those of the usage attributes do."""
INPUT_PER_REQUEST = "gen_ai.client.inference.operation.input_tokens"
OUTPUT_PER_REQUEST = "gen_ai.client.inference.operation.output_tokens"
AGENT_SECONDS = "gen_ai.invoke_agent.duration"
CALLS_PER_AGENT = "gen_ai.invoke_agent.inference_calls"
TOOLS_PER_AGENT = "gen_ai.invoke_agent.tool_calls"
TOOL_SECONDS = "gen_ai.execute_tool.duration"

# Our own: the conventions have no name for what something cost.
OWN = "assistantguard."
COST = "assistantguard.cost"
"""A counter, in billionths of a US dollar: whole numbers, whose sums stay exact."""
COST_USD = "assistantguard.cost.usd"
"""An attribute, in US dollars."""
UNPRICED = "assistantguard.unpriced_requests"
"""A counter of requests whose price is unknown, which `COST` lacks."""


def wants_latest() -> bool:
    """Whether the environment asks for the names of the conventions' own repository."""
    return LATEST_OPT_IN in [word.strip() for word in os.environ.get(OPT_IN_VARIABLE, "").split(",")]
