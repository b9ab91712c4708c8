"""OpenTelemetry metrics, made from events: what requests, runs and tools took and used."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context, create_key, set_value

from assistantguard.telemetry import otel_names as names

if TYPE_CHECKING:
    from opentelemetry.metrics import Histogram, Meter

    from assistantguard.events import RequestSettled, RunSettled, ToolSettled, UsageCorrected
    from assistantguard.models.usage import Usage

__all__ = ["CurrentMetrics", "LatestMetrics", "Metrics"]

Attributes = dict[str, Any]

_SECONDS = [0.01 * 2**power for power in range(14)]
_AGENT_SECONDS = [0.1 * 2**power for power in range(13)]
_TOKENS = [4**power for power in range(14)]
_CALLS = [2**power for power in range(8)]
_NANO = Decimal(1_000_000_000)
_NO_SPAN = set_value(create_key("assistantguard"), "untraced", Context())
"""Where nothing is traced: what is recorded here looks for no exemplar, which would cost as much as the recording."""
_MOST_KEPT = 1_000
"""Sets of attributes that are kept for the next request; more than an application has."""


class Metrics:
    """Records what events tell. Every set of attributes is small and bounded: models, tools, error codes.

    Args:
        meter: Makes the instruments.
        provider: ``gen_ai.provider.name``.
    """

    def __init__(self, meter: Meter, provider: str) -> None:
        self._provider = provider
        self._kept: dict[object, Attributes] = {}
        self._cost = meter.create_counter(names.COST, "{nanodollar}", "What requests cost.")
        self._unpriced = meter.create_counter(names.UNPRICED, "{request}", "Requests whose price is unknown.")

    def request(self, event: RequestSettled, context: Context | None) -> None:
        """A paid request was settled; `context` is that of its span, for the exemplars of how long it took."""
        attributes = self._of_request(event.model, event.response_model)
        self._took(event, attributes, context)
        usage = event.usage
        if usage.requests == 0:  # it failed, and is not billed
            self._unknown(attributes)
            return
        if usage.estimated:  # an estimate is no measurement; the truth may come as a correction
            self._unknown(attributes)
        else:
            self._used(usage, attributes)
        self._paid(event.model, event.cost)

    def corrected(self, event: UsageCorrected) -> None:
        """The server told usage late."""
        if not event.before.estimated or event.usage.estimated:
            return
        attributes = self._of_request(event.model, None)
        self._used(event.usage, attributes)
        if event.cost is not None and event.before_cost is not None and event.cost > event.before_cost:
            self._paid(event.model, event.cost - event.before_cost)

    def run(self, event: RunSettled, agent: str | None, context: Context | None) -> None:
        """A run has ended."""

    def tool(self, event: ToolSettled, agent: str | None, context: Context | None) -> None:
        """A tool call was answered."""

    def _took(self, event: RequestSettled, attributes: Attributes, context: Context | None) -> None:
        """How long a request took."""
        raise NotImplementedError

    def _used(self, usage: Usage, attributes: Attributes) -> None:
        """How many tokens a request used."""
        raise NotImplementedError

    def _unknown(self, attributes: Attributes) -> None:
        """It is not known how many tokens a request used."""

    def _paid(self, model: str, cost: Decimal | None) -> None:
        attributes = {names.REQUEST_MODEL: model}
        if cost is None:
            self._unpriced.add(1, attributes, _NO_SPAN)
        else:
            self._cost.add(int((cost * _NANO).to_integral_value(ROUND_HALF_UP)), attributes, _NO_SPAN)

    def _of_request(self, model: str, response_model: str | None) -> Attributes:
        key = (model, response_model)
        attributes = self._kept.get(key)
        if attributes is None:
            attributes = {
                names.OPERATION_NAME: names.CHAT,
                names.PROVIDER_NAME: self._provider,
                names.REQUEST_MODEL: model,
            }
            if response_model:
                attributes[names.RESPONSE_MODEL] = response_model
            self._keep(key, attributes)
        return attributes

    def _keep(self, key: object, attributes: Attributes) -> None:
        if len(self._kept) < _MOST_KEPT:
            self._kept[key] = attributes


class CurrentMetrics(Metrics):
    """The metrics of release 1.41."""

    def __init__(self, meter: Meter, provider: str) -> None:
        super().__init__(meter, provider)
        self._tokens = _histogram(
            meter, names.TOKEN_USAGE, "{token}", "Number of input and output tokens used.", _TOKENS
        )
        self._seconds = _histogram(meter, names.OPERATION_SECONDS, "s", "GenAI operation duration.", _SECONDS)

    def _took(self, event: RequestSettled, attributes: Attributes, context: Context | None) -> None:
        if event.error:
            attributes = {**attributes, names.ERROR_TYPE: event.error}
        self._seconds.record(event.seconds, attributes, context)

    def _used(self, usage: Usage, attributes: Attributes) -> None:
        self._tokens.record(usage.input_tokens, self._typed(attributes, "input"), _NO_SPAN)
        self._tokens.record(usage.output_tokens, self._typed(attributes, "output"), _NO_SPAN)

    def _typed(self, attributes: Attributes, kind: str) -> Attributes:
        key = (kind, attributes[names.REQUEST_MODEL], attributes.get(names.RESPONSE_MODEL))
        typed = self._kept.get(key)
        if typed is None:
            typed = {**attributes, names.TOKEN_TYPE: kind}
            self._keep(key, typed)
        return typed


class LatestMetrics(Metrics):
    """The metrics of the conventions' own repository, release 0.1.0."""

    def __init__(self, meter: Meter, provider: str) -> None:
        super().__init__(meter, provider)
        self._seconds = _histogram(meter, names.REQUEST_SECONDS, "s", "GenAI inference duration.", _SECONDS)
        self._input = _histogram(
            meter, names.INPUT_PER_REQUEST, "{token}", "Input tokens of an inference operation.", _TOKENS
        )
        self._output = _histogram(
            meter, names.OUTPUT_PER_REQUEST, "{token}", "Output tokens of an inference operation.", _TOKENS
        )
        parts = {
            "input_tokens": "input_tokens",
            "output_tokens": "output_tokens",
            "cached_tokens": "cache_read.input_tokens",
            "cache_write_tokens": "cache_write.input_tokens",
            "reasoning_tokens": "reasoning.output_tokens",
        }
        self._counters = {
            field: meter.create_counter(names.USED + name, "{token}", f"Number of {field.replace('_', ' ')}.")
            for field, name in parts.items()
        }
        self._run_seconds = _histogram(
            meter, names.AGENT_SECONDS, "s", "Duration of agent invocations.", _AGENT_SECONDS
        )
        self._run_calls = _histogram(
            meter, names.CALLS_PER_AGENT, "{inference_call}", "Model calls of an agent invocation.", _CALLS
        )
        self._run_tools = _histogram(
            meter, names.TOOLS_PER_AGENT, "{tool_call}", "Tool calls of an agent invocation.", _CALLS
        )
        self._tool_seconds = _histogram(meter, names.TOOL_SECONDS, "s", "Duration of tool executions.", _SECONDS)

    def run(self, event: RunSettled, agent: str | None, context: Context | None) -> None:
        """See `Metrics.run`."""
        attributes: Attributes = {names.OPERATION_NAME: names.INVOKE_AGENT, names.REQUEST_MODEL: event.model}
        if agent is not None:
            attributes[names.AGENT_NAME] = agent
        self._run_calls.record(event.usage.requests, attributes, _NO_SPAN)
        self._run_tools.record(event.calls, attributes, _NO_SPAN)
        if event.error is not None:
            attributes = {**attributes, names.ERROR_TYPE: event.error}
        self._run_seconds.record(event.seconds, attributes, context)

    def tool(self, event: ToolSettled, agent: str | None, context: Context | None) -> None:
        """See `Metrics.tool`."""
        attributes: Attributes = {names.TOOL_NAME: event.tool, names.TOOL_TYPE: "function"}
        if agent is not None:
            attributes[names.AGENT_NAME] = agent
        if event.failed:
            attributes[names.ERROR_TYPE] = event.error_type or "_OTHER"
        self._tool_seconds.record(event.seconds, attributes, context)

    def _took(self, event: RequestSettled, attributes: Attributes, context: Context | None) -> None:
        if event.error:
            attributes = {**attributes, names.ERROR_TYPE: event.error}
        self._seconds.record(event.seconds, attributes, context)

    def _used(self, usage: Usage, attributes: Attributes) -> None:
        self._input.record(usage.input_tokens, attributes, _NO_SPAN)
        self._output.record(usage.output_tokens, attributes, _NO_SPAN)
        counted = {**attributes, names.TOKEN_MODALITY: "unknown"}
        for field, counter in self._counters.items():
            amount = getattr(usage, field)
            if amount or field in ("input_tokens", "output_tokens"):
                counter.add(amount, counted, _NO_SPAN)

    def _unknown(self, attributes: Attributes) -> None:
        counted = {**attributes, names.TOKEN_MODALITY: "unknown"}
        self._counters["input_tokens"].add(0, counted, _NO_SPAN)
        self._counters["output_tokens"].add(0, counted, _NO_SPAN)


def _histogram(meter: Meter, name: str, unit: str, description: str, boundaries: list[Any]) -> Histogram:
    return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=boundaries)
