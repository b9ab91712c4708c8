"""OpenAI's Responses and Conversations API as a backend.

The user's input travels in ``responses.create``, so that an attempt that fails leaves nothing behind. Instructions
and tools are sent with every request, since they are not part of a conversation. One class serves both colours: every
call goes through a `ClientPort`.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import openai

from assistantguard.backends.problems import UnreadableAnswerError, failure_of
from assistantguard.backends.reading import answer_of, get, item_of
from assistantguard.backends.vector_stores import VectorStores
from assistantguard.engine.ports import AnswerStream, ModelAnswer, ModelRequest

if TYPE_CHECKING:
    from assistantguard.backends.port import ClientPort
    from assistantguard.models import Assistant, Failure, Item, ToolOutput
    from assistantguard.models.rates import RatesTold

__all__ = ["ResponsesBackend", "create_params"]

_ITEMS_PER_CALL = 20
_ITEMS_PER_PAGE = 100
_MOST_PAGES = 200
"""A server whose lists never end must not hold a turn up for ever."""


class ResponsesBackend(VectorStores):
    """`Backend` over ``client.responses``, ``client.conversations`` and ``client.vector_stores``."""

    def __init__(self, port: ClientPort) -> None:
        super().__init__(port)
        self._counts_input = True

    def classify(self, error: Exception) -> Failure | None:
        """See `Backend.classify`."""
        return failure_of(error)

    async def create_generation(self, items: Sequence[Item], metadata: Mapping[str, str], timeout: float) -> str:
        """See `Backend.create_generation`. A conversation takes 20 items a call."""
        params = [_message_param(item) for item in items]
        first = {"items": params[:_ITEMS_PER_CALL]} if params else {}
        conversation = await self._port.call("conversations.create", timeout, metadata=dict(metadata), **first)
        conversation_id = get(conversation, "id")
        if not isinstance(conversation_id, str) or not conversation_id:
            raise UnreadableAnswerError("the server made a conversation without an id: check the base URL")
        try:
            await self._add_items(conversation_id, params[_ITEMS_PER_CALL:], timeout)
        except Exception:
            with contextlib.suppress(openai.OpenAIError, TimeoutError):  # the half-filled one is of no use
                await self._port.call("conversations.delete", timeout, conversation_id)
            raise
        return conversation_id

    async def delete_generation(self, generation_id: str, *, scrub: bool, timeout: float) -> None:
        """See `Backend.delete_generation`. Deleting a conversation does not delete its items."""
        if scrub:
            items = await self.history(generation_id, timeout)
            await self.delete_items(generation_id, [item.id for item in items if item.id is not None], timeout)
        await self._port.call("conversations.delete", timeout, generation_id)

    async def history(self, generation_id: str, timeout: float, *, limit: int | None = None) -> list[Item]:
        """See `Backend.history`."""
        items: list[Item] = []
        seen: set[str] = set()
        after: str | None = None
        for _ in range(_MOST_PAGES):
            wanted = _ITEMS_PER_PAGE if limit is None else min(_ITEMS_PER_PAGE, limit - len(items))
            params: dict[str, Any] = {"order": "desc", "limit": wanted}
            if after is not None:
                params["after"] = after
            page = await self._port.call("conversations.items.list", timeout, generation_id, **params)
            fresh = [item for item in map(item_of, get(page, "data") or []) if item.id not in seen]
            items += fresh
            seen.update(item.id for item in fresh if item.id is not None)
            after = fresh[-1].id if fresh else None
            if after is None or get(page, "has_more") is not True or (limit is not None and len(items) >= limit):
                break
        return items

    async def add_outputs(self, generation_id: str, outputs: Sequence[ToolOutput], timeout: float) -> str | None:
        """See `Backend.add_outputs`."""
        params = [
            {"type": "function_call_output", "call_id": output.call_id, "output": output.output} for output in outputs
        ]
        return await self._add_items(generation_id, params, timeout)

    async def add_messages(self, generation_id: str, items: Sequence[Mapping[str, Any]], timeout: float) -> str | None:
        """See `Backend.add_messages`."""
        return await self._add_items(generation_id, items, timeout)

    async def delete_items(self, generation_id: str, item_ids: Sequence[str], timeout: float) -> None:
        """See `Backend.delete_items`. An item that is gone already is as good as deleted."""
        for item_id in item_ids:
            try:
                await self._port.call("conversations.items.delete", timeout, item_id, conversation_id=generation_id)
            except openai.NotFoundError:
                continue

    async def _add_items(self, generation_id: str, params: Sequence[Mapping[str, Any]], timeout: float) -> str | None:
        """Append items, 20 a call; return the last one's id, where the server tells it."""
        last_id: str | None = None
        for start in range(0, len(params), _ITEMS_PER_CALL):
            chunk = params[start : start + _ITEMS_PER_CALL]
            added = await self._port.call("conversations.items.create", timeout, generation_id, items=chunk)
            entries = get(added, "data") or []
            last_id = get(added, "last_id") or (get(entries[-1], "id") if entries else None)
        return last_id

    async def respond(self, request: ModelRequest, timeout: float) -> ModelAnswer:
        """See `Backend.respond`."""
        params = create_params(request, headers=True)
        if not request.wants_rates:
            return _answer(await self._port.call("responses.create", timeout, **params))
        from assistantguard.backends.rates import rates_told

        told = await self._port.ask("responses.create", timeout, **params)
        return _answer(told.data, rates_told(told.headers))

    async def stream(self, request: ModelRequest, timeout: float) -> AnswerStream:
        """See `Backend.stream`."""
        from assistantguard.backends.streaming import ResponseStream

        events = await self._port.open("responses.create", timeout, **create_params(request, headers=True))
        return ResponseStream(events, tells_rates=request.wants_rates)

    async def resume(self, response_id: str, sequence_number: int, timeout: float) -> AnswerStream:
        """See `Backend.resume`."""
        from assistantguard.backends.streaming import ResponseStream

        events = await self._port.open("responses.retrieve", timeout, response_id, starting_after=sequence_number)
        return ResponseStream(events, response_id, sequence_number)

    async def look_up(self, response_id: str, timeout: float) -> ModelAnswer:
        """See `Backend.look_up`."""
        return _answer(await self._port.call("responses.retrieve", timeout, response_id))

    async def cancel(self, response_id: str, timeout: float) -> ModelAnswer:
        """See `Backend.cancel`."""
        return _answer(await self._port.call("responses.cancel", timeout, response_id))

    def refuses_background(self, failure: Failure) -> bool:
        """See `Backend.refuses_background`. The API names no code for it; the message speaks of it."""
        return (
            failure.status_code in _REFUSALS and re.search(_NO_BACKGROUND, failure.message, re.IGNORECASE) is not None
        )

    async def count_input(self, request: ModelRequest, timeout: float) -> int | None:
        """See `Backend.count_input`. A server that lacks the route is not asked again."""
        params = create_params(request)
        params.update(params.pop("extra_body", {}))
        return await self.count_body(params, timeout)

    async def count_body(self, body: Mapping[str, Any], timeout: float) -> int | None:
        """As `count_input`, for the body of a request."""
        if not self._counts_input:
            return None
        body = {key: value for key, value in body.items() if key in _COUNTED_PARAMS}
        try:
            counted = await self._port.call(
                "post",
                timeout,
                "/responses/input_tokens",
                cast_to=object,
                body=body,
                options={"timeout": timeout},
            )
        except (openai.NotFoundError, openai.APIStatusError) as error:
            if error.status_code not in {404, 405, 501} or "onversation" in str(error):
                raise
            self._counts_input = False
            return None
        tokens = get(counted, "input_tokens")
        return tokens if isinstance(tokens, int) else None


_COUNTED_PARAMS = frozenset(
    {
        "model",
        "input",
        "instructions",
        "conversation",
        "previous_response_id",
        "tools",
        "tool_choice",
        "parallel_tool_calls",
        "reasoning",
        "text",
        "truncation",
    }
)
"""What ``/responses/input_tokens`` takes, of what ``/responses`` does."""


_NO_BACKGROUND = (
    r"background[ _]?(mode|responses?|requests?)|['\"`]background['\"`]|\bbackground\b.*not\b.*(support|allow|avail)"
    r"|not\b.*(support|allow).*\bbackground\b"
)
"""Not every message that has the word: image generation has a parameter of that name."""
_REFUSALS = frozenset({400, 403, 404, 405, 422, 501})


def _answer(response: Any, rates: RatesTold | None = None) -> ModelAnswer:
    if not isinstance(get(response, "output"), list) and get(response, "status") is None:
        raise UnreadableAnswerError("the server's answer is no response object: check the base URL")
    return answer_of(response, rates=rates)


def create_params(request: ModelRequest, *, headers: bool = False) -> dict[str, Any]:
    """The parameters of ``responses.create``, its headers if asked for; what is not set is not sent."""
    assistant = request.assistant
    params: dict[str, Any] = {"model": request.model, "input": request.input}
    if headers and request.client_request_id:
        params["extra_headers"] = {"X-Client-Request-Id": request.client_request_id}
    if request.instructions:
        params["instructions"] = request.instructions
    if request.generation_id is not None:
        params["conversation"] = request.generation_id
    else:
        params["store"] = False
    extra: dict[str, Any] = {}
    if request.tools:
        # Schemas are in wire shape already. As a parameter, the SDK would walk every one of them through the union
        # of all tool types at each call, which takes a third of the call's CPU time.
        extra["tools"] = request.tools
        if request.tool_choice is not None:
            params["tool_choice"] = request.tool_choice
        if request.max_tool_calls is not None:
            params["max_tool_calls"] = request.max_tool_calls
    if request.background:
        params["background"] = True
    if request.max_output_tokens is not None:
        params["max_output_tokens"] = request.max_output_tokens
    if request.cache_key is not None:
        params["prompt_cache_key"] = request.cache_key
    if request.metadata:
        params["metadata"] = request.metadata
    if request.reasoning_effort is not None:
        params["reasoning"] = {"effort": request.reasoning_effort}
    if request.service_tier is not None:
        params["service_tier"] = request.service_tier
    if assistant is not None:
        _add_settings(params, assistant, with_tools=bool(request.tools))
        extra.update(assistant.extra_body)
    if extra:
        params["extra_body"] = extra
    return params


def _add_settings(params: dict[str, Any], assistant: Assistant, *, with_tools: bool) -> None:
    if assistant.temperature is not None:
        params["temperature"] = assistant.temperature
    if assistant.top_p is not None:
        params["top_p"] = assistant.top_p
    if assistant.response_format is not None:
        params["text"] = {"format": assistant.response_format}
    if assistant.parallel_tool_calls is not None and with_tools:
        params["parallel_tool_calls"] = assistant.parallel_tool_calls


def _message_param(item: Item) -> dict[str, Any]:
    """A message as an input item. Only messages are carried over: calls and reasoning belong to their generation."""
    role = item.role if item.role in {"user", "assistant"} else "user"
    return {"type": "message", "role": role, "content": item.text}
