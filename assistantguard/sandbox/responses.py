"""`/responses`: the model's work on a context, its bill, and what it leaves behind."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.billing import BilledCall, Billing, PromptCache, writes_are_billed
from assistantguard.sandbox.counting import FRAME, REQUEST, text_tokens
from assistantguard.sandbox.items import as_items
from assistantguard.sandbox.output import Output, make_output, searched_stores
from assistantguard.sandbox.parameters import (
    check_create,
    check_input_tokens,
    conversation_id,
    tools_segment,
)
from assistantguard.sandbox.problems import ApiError, rejected, script_problem
from assistantguard.sandbox.script import Answer, ModelRequest, Script, as_answer
from assistantguard.sandbox.state import Chain, StoredResponse, check_pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from assistantguard.sandbox.script import Model
    from assistantguard.sandbox.state import ConversationState, Item, State
    from assistantguard.sandbox.vector_stores import VectorStores

__all__ = ["Responses", "locked"]


def locked() -> ApiError:
    """Make the 400 for a conversation that another request works on."""
    return rejected(
        "Another process is currently operating on this conversation. Please retry in a few seconds.",
        "conversation",
        "conversation_locked",
    )


@dataclass(slots=True)
class _Context:
    """What a request puts before the model."""

    body: dict[str, Any]
    model: str
    conversation: ConversationState | None
    earlier: Sequence[Item]
    chain: Chain
    """`earlier`, to be shared."""
    inputs: list[Item]
    tools: tuple[str, int]
    instructions: str | None
    tokens: int

    def segments(self) -> Iterator[tuple[str, int]]:
        """Yield the prompt's parts in order, for the prompt cache."""
        if self.tools[1]:
            yield self.tools
        if self.instructions is not None:
            yield f"instructions\x00{self.instructions}", FRAME + text_tokens(self.instructions)
        for item in self.earlier:
            yield item.key, item.tokens
        for item in self.inputs:
            yield item.key, item.tokens


class Responses:
    """Serves `/responses`.

    Args:
        state: Conversations and responses.
        billing: Where each response is booked.
        model: The script, or the function that answers.
        model_in_thread: Run a plain function in a worker thread, so that it may block.
        pause: Awaited for an answer's delay, in seconds.
        stores: What file searches look in.
    """

    def __init__(
        self,
        state: State,
        billing: Billing,
        model: Script | Model,
        *,
        model_in_thread: bool,
        pause: Callable[[float], Any],
        stores: VectorStores,
    ) -> None:
        self._state = state
        self._billing = billing
        self._model = model
        self._in_thread = model_in_thread
        self._pause = pause
        self._stores = stores
        self._cache = PromptCache()

    def count(self, body: Any) -> dict[str, Any]:
        """Answer `POST /responses/input_tokens`."""
        context = self._context(check_input_tokens(body))
        return {"object": "response.input_tokens", "input_tokens": context.tokens}

    async def create(self, body: Any, instead: Answer | None) -> dict[str, Any]:
        """Answer `POST /responses`.

        Args:
            body: The request's JSON document.
            instead: A fault's answer, in the place of the model's.
        """
        checked = check_create(body)
        context = self._context(checked)
        self._stores.use(searched_stores(checked))
        conversation = context.conversation
        if conversation is None:
            problem = check_pairs([*context.earlier, *context.inputs])
            if problem is not None:
                raise problem
            return await self._work(context, instead)
        if conversation.active:
            raise locked()
        conversation.check(context.inputs)
        conversation.active = True
        try:
            return await self._work(context, instead)
        finally:
            conversation.active = False

    def _context(self, body: dict[str, Any]) -> _Context:
        conversation: ConversationState | None = None
        wanted = conversation_id(body)
        if wanted is not None:
            conversation = self._state.conversation(wanted)
            chain = conversation.chain
            earlier: Sequence[Item] = conversation.items
        else:
            chain = self._chain(body.get("previous_response_id"))
            earlier = chain.all()

        def taken(item_id: str) -> bool:
            if conversation is not None:
                return item_id in conversation.ids
            return any(item.data["id"] == item_id for item in earlier)

        inputs = as_items(body.get("input", []), self._state.ids, known=self._find, taken=taken)
        tools = tools_segment(body.get("tools", ()))
        instructions = body.get("instructions")
        tokens = REQUEST + tools[1] + chain.tokens + sum(item.tokens for item in inputs)
        if instructions is not None:
            tokens += FRAME + text_tokens(instructions)
        return _Context(body, body.get("model", ""), conversation, earlier, chain, inputs, tools, instructions, tokens)

    def _chain(self, previous: str | None) -> Chain:
        if previous is None:
            return Chain(None, ())
        stored = self._state.responses.get(previous)
        if stored is None:
            raise rejected(
                f"Previous response with id '{previous}' not found.",
                "previous_response_id",
                "previous_response_not_found",
            )
        return stored.context

    def _find(self, item_id: str) -> Item | None:
        for conversation in self._state.conversations.values():
            if item_id in conversation.ids:
                return conversation.item(item_id)
        for stored in self._state.responses.values():
            for item in stored.context.all():
                if item.data["id"] == item_id:
                    return item
        return None

    async def _work(self, context: _Context, instead: Answer | None) -> dict[str, Any]:
        started = self._state.now()
        answer = instead if instead is not None else await self._answer(context)
        if answer.delay:
            await self._pause(answer.delay)
        output = make_output(answer, context.body, self._state.ids, self._stores.find)
        response_id = self._state.ids.make("resp_")
        call = self._book(context, answer, output, response_id)
        document = _document(context, answer, output, call, started, self._state.now())
        appended = answer.appended
        if appended is None:
            appended = output.status != "failed"
        conversation = context.conversation
        if conversation is not None and appended and conversation.id in self._state.conversations:
            conversation.append([*context.inputs, *output.items])
        if context.body.get("store", True):
            inputs = Chain(context.chain, context.inputs)
            self._state.responses[response_id] = StoredResponse(document, inputs, Chain(inputs, output.items))
        return document

    async def _answer(self, context: _Context) -> Answer:
        if isinstance(self._model, Script):
            may_call_tools = bool(context.body.get("tools")) and context.body.get("tool_choice") != "none"
            conversation = None if context.conversation is None else context.conversation.id
            scripted = self._model.next(conversation, may_call_tools=may_call_tools)
            if scripted is None:
                raise script_problem("script_exhausted", "the script is used up; it holds no answer for this request.")
            return scripted
        request = self._request(context)
        try:
            if self._in_thread and not inspect.iscoroutinefunction(self._model):
                made = await asyncio.to_thread(self._model, request)
            else:
                made = self._model(request)
            if inspect.isawaitable(made):
                made = await made
            return as_answer(made)
        except ConfigurationError as error:
            raise script_problem("script_wrong_answer", str(error)) from error
        except Exception as error:
            name = type(error).__name__
            raise script_problem("script_raised", f"the scripted model raised {name}: {error}") from error

    def _request(self, context: _Context) -> ModelRequest:
        body = context.body
        return ModelRequest(
            model=context.model,
            instructions=context.instructions,
            tools=body.get("tools", []),
            items=[item.data for item in (*context.earlier, *context.inputs)],
            conversation=None if context.conversation is None else context.conversation.id,
            tool_choice=body.get("tool_choice", "auto"),
            max_output_tokens=body.get("max_output_tokens"),
            input_tokens=context.tokens,
            body=body,
        )

    def _book(self, context: _Context, answer: Answer, output: Output, response_id: str) -> BilledCall:
        cached = written = 0
        explicit = context.body.get("prompt_cache_options", {}).get("mode") == "explicit"
        if answer.billed and not explicit:
            common = self._cache.read(context.model, context.segments())
            cached = PromptCache.rounded(common)
            if writes_are_billed(context.model):
                written = max(0, PromptCache.rounded(context.tokens) - cached)
        billed = answer.billed
        call = BilledCall(
            response_id=response_id,
            conversation_id=None if context.conversation is None else context.conversation.id,
            model=context.model,
            status=output.status,
            input_tokens=context.tokens + output.injected_tokens if billed else 0,
            cached_tokens=cached,
            cache_write_tokens=written,
            output_tokens=output.tokens if billed else 0,
            reasoning_tokens=output.reasoning_tokens if billed else 0,
            file_searches=output.file_searches if billed else 0,
            service_tier=_tier(context.body),
            billed=billed,
            usage_reported=answer.usage_reported,
        )
        self._billing.calls.append(call)
        return call


def _tier(body: dict[str, Any]) -> str:
    tier = body.get("service_tier", "auto")
    return "default" if tier == "auto" else str(tier)


def _usage(call: BilledCall) -> dict[str, Any]:
    return {
        "input_tokens": call.input_tokens,
        "input_tokens_details": {
            "cached_tokens": call.cached_tokens,
            "cache_write_tokens": call.cache_write_tokens,
        },
        "output_tokens": call.output_tokens,
        "output_tokens_details": {"reasoning_tokens": call.reasoning_tokens},
        "total_tokens": call.input_tokens + call.output_tokens,
    }


def _shown_tools(tools: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = []
    for tool in tools:
        if tool["type"] == "function":
            defaults = {"description": None, "parameters": None, "strict": False}
            shown.append({**defaults, **tool, "strict": bool(tool.get("strict"))})
        else:
            shown.append(tool)
    return shown


def _document(
    context: _Context, answer: Answer, output: Output, call: BilledCall, started: float, ended: float
) -> dict[str, Any]:
    body = context.body
    text = {"format": {"type": "text"}, "verbosity": "medium", **body.get("text", {})}
    failed = output.status == "failed"
    return {
        "id": call.response_id,
        "object": "response",
        "created_at": int(started),
        "status": output.status,
        "background": False,
        "completed_at": int(ended) if output.status == "completed" else None,
        "conversation": None if context.conversation is None else {"id": context.conversation.id},
        "error": {"code": answer.error_code, "message": answer.error_message} if failed else None,
        "incomplete_details": {"reason": output.incomplete_reason} if output.status == "incomplete" else None,
        "instructions": context.instructions,
        "max_output_tokens": body.get("max_output_tokens"),
        "max_tool_calls": body.get("max_tool_calls"),
        "metadata": body.get("metadata", {}),
        "model": context.model,
        "output": output.shown(body.get("include", ())),
        "parallel_tool_calls": body.get("parallel_tool_calls", True),
        "previous_response_id": body.get("previous_response_id"),
        "prompt_cache_key": body.get("prompt_cache_key"),
        "reasoning": {"effort": None, "summary": None, **body.get("reasoning", {})},
        "safety_identifier": body.get("safety_identifier"),
        "service_tier": call.service_tier,
        "store": body.get("store", True),
        "temperature": body.get("temperature", 1.0),
        "text": text,
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": _shown_tools(body.get("tools", ())),
        "top_logprobs": body.get("top_logprobs", 0),
        "top_p": body.get("top_p", 1.0),
        "truncation": body.get("truncation", "disabled"),
        "usage": _usage(call) if call.usage_reported else None,
        **({"user": body["user"]} if "user" in body else {}),
    }
