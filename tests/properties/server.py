"""A server that the engine talks to, scripted: it keeps conversations, counts exactly, bills, and fails on demand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from assistantguard import ToolCall, ToolOutput, Usage
from assistantguard.engine import AnswerStream, ModelAnswer, ModelRequest, Piece, VectorStoreInfo
from assistantguard.engine.input import text_of
from assistantguard.failures import Facts, classify
from assistantguard.models import Failure, Item
from tests.properties.stage import Stage

__all__ = [
    "TOOLS",
    "Act",
    "Appended",
    "Billed",
    "Chore",
    "Refusal",
    "ScriptedServer",
    "ServerProblem",
    "Status",
    "Vanish",
]

T = TypeVar("T")
Status = Literal["completed", "incomplete", "failed", "in_progress"]
Appended = Literal["all", "input", "nothing"]
LARGEST_OUTPUT = 16_384
FRAMING = 5
"""Tokens that an item costs beside its text."""
TOOLS = [{"type": "function", "name": "lookup", "description": "Finds.", "parameters": {"type": "object"}}]


class ServerProblem(Exception):
    """An error that the server's answer, or its absence, raises in the client."""

    def __init__(self, facts: Facts) -> None:
        super().__init__(facts.message)
        self.facts = facts


@dataclass(frozen=True, slots=True)
class Act:
    """One paid answer of the scripted server."""

    text: str = "done"
    calls: tuple[int, ...] = ()
    """One function call for each, with the number as its argument."""
    status: Status = "completed"
    code: str = "server_error"
    """Of a failed answer."""
    share: float = 0.01
    """How much of the output that the request allows is written."""
    reports: bool = True
    """Whether the answer carries `usage`."""
    billed: bool = True
    appends: Appended = "all"
    """What stands in the conversation afterwards; a completed answer always appends all."""
    lost: bool = False
    """The work is done, and the connection breaks before the answer arrives."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A request that no model sees: nothing is billed and nothing is stored."""

    facts: Facts


@dataclass(frozen=True, slots=True)
class Vanish:
    """The conversation is deleted behind our back, just before the request arrives."""


@dataclass(frozen=True, slots=True)
class Chore:
    """What becomes of one unpaid call."""

    facts: Facts
    done: bool = False
    """Whether the server did it before the error."""


@dataclass(slots=True)
class Billed:
    """A line of the server's own bill."""

    response_id: str
    usage: Usage
    reported: bool


@dataclass(slots=True)
class _Stored:
    item: Item
    tokens: int


class ScriptedServer:
    """`Backend` that keeps conversations and bills. Refuses what the API refuses, in the API's words.

    Args:
        stage: Its clock and points.
        acts: What comes of the paid calls, in order; afterwards each is answered with ``done``.
        chores: What comes of the unpaid ones, in order; None, and everything afterwards, works.
        density: Tokens that a byte of text costs, above 0 and at most 1.
        obedient: Whether ``tool_choice="none"`` keeps the model from calling tools.
        counts: Whether the server has the route that counts input.
    """

    def __init__(
        self,
        stage: Stage,
        acts: Iterable[Act | Refusal | Vanish] = (),
        chores: Iterable[Chore | None] = (),
        *,
        density: float = 0.3,
        obedient: bool = True,
        counts: bool = True,
    ) -> None:
        self._stage = stage
        self._acts = list(acts)
        self._chores = list(chores)
        self._density = density
        self._obedient = obedient
        self._counts = counts
        self._ids = 0
        self.conversations: dict[str, list[_Stored]] = {}
        self.bill: list[Billed] = []
        self.sent: list[ModelRequest] = []
        self.answers: dict[str, ModelAnswer] = {}
        """Every answer that was made, by its id."""

    def classify(self, error: Exception) -> Failure | None:
        return classify(error.facts) if isinstance(error, ServerProblem) else None

    async def create_generation(self, items: Sequence[Item], metadata: Mapping[str, str], timeout: float) -> str:
        def create() -> str:
            conversation_id = self._id("conv")
            self.conversations[conversation_id] = [self._store(item) for item in items]
            return conversation_id

        return await self._chore("create_generation", create)

    async def delete_generation(self, generation_id: str, *, scrub: bool, timeout: float) -> None:
        await self._chore("delete_generation", lambda: self.conversations.pop(generation_id, None))

    async def history(self, generation_id: str, timeout: float, *, limit: int | None = None) -> list[Item]:
        stored = await self._chore("history", lambda: self._conversation(generation_id))
        return [entry.item for entry in stored[::-1]][:limit]

    async def add_outputs(self, generation_id: str, outputs: Sequence[ToolOutput], timeout: float) -> None:
        def add() -> None:
            self._conversation(generation_id).extend(
                self._store(Item("function_call_output", output.output, call_id=output.call_id)) for output in outputs
            )

        await self._chore("add_outputs", add)

    async def delete_items(self, generation_id: str, item_ids: Sequence[str], timeout: float) -> None:
        def delete() -> None:
            conversation = self._conversation(generation_id)
            conversation[:] = [entry for entry in conversation if entry.item.id not in item_ids]

        await self._chore("delete_items", delete)

    async def count_input(self, request: ModelRequest, timeout: float) -> int | None:
        return await self._chore("count_input", lambda: self._input_tokens(request) if self._counts else None)

    async def respond(self, request: ModelRequest, timeout: float) -> ModelAnswer:
        assert timeout > 0
        await self._stage.point("respond")
        self.sent.append(replace(request, input=[*request.input]))
        if self._acts and isinstance(self._acts[0], Vanish):
            self._acts.pop(0)
            self.conversations.pop(request.generation_id or "", None)
        self._refuse_what_the_api_refuses(request)
        act = self._acts.pop(0) if self._acts else Act()
        if isinstance(act, Vanish):
            act = Act()
        if isinstance(act, Refusal):
            raise ServerProblem(act.facts)
        if act.calls and (not request.tools or (request.tool_choice == "none" and self._obedient)):
            act = replace(act, calls=(), text=act.text or "no tools")
        answer = self._work(request, act)
        await self._stage.point("respond done")
        if act.lost:
            raise ServerProblem(Facts("request", "Connection error."))
        return answer

    async def stream(self, request: ModelRequest, timeout: float) -> AnswerStream:
        return _Pieces(self._stage, await self.respond(request, timeout))

    async def resume(self, response_id: str, sequence_number: int, timeout: float) -> AnswerStream:
        raise AssertionError("nothing here is made in the background")

    async def look_up(self, response_id: str, timeout: float) -> ModelAnswer:
        return await self._chore("look_up", lambda: self._known(response_id))

    async def cancel(self, response_id: str, timeout: float) -> ModelAnswer:
        raise AssertionError("nothing here is made in the background")

    def refuses_background(self, failure: Failure) -> bool:
        return False

    def _known(self, response_id: str) -> ModelAnswer:
        if response_id not in self.answers:
            message = f"Response with id '{response_id}' not found."
            raise ServerProblem(Facts("request", message, 404, type="invalid_request_error"))
        return self.answers[response_id]

    async def find_vector_store(self, file_ids: Sequence[str], timeout: float) -> VectorStoreInfo | None:
        return await self._chore("find_vector_store", lambda: None)

    async def create_vector_store(
        self, file_ids: Sequence[str], expires_after_days: int, timeout: float
    ) -> VectorStoreInfo:
        return await self._chore("create_vector_store", lambda: _store_info(self._id("vs")))

    async def vector_store(self, vector_store_id: str, timeout: float) -> VectorStoreInfo:
        return await self._chore("vector_store", lambda: _store_info(vector_store_id))

    async def failed_files(self, vector_store_id: str, timeout: float) -> list[str]:
        return await self._chore("failed_files", list)

    def script(self, acts: Iterable[Act | Refusal | Vanish]) -> None:
        """Let these come of the next paid calls."""
        self._acts.extend(acts)

    def recover(self) -> None:
        """From now on everything works."""
        self._acts.clear()
        self._chores.clear()

    def open_calls(self, generation_id: str) -> list[str]:
        """Function calls of a conversation that have no output."""
        items = [entry.item for entry in self.conversations[generation_id]]
        answered = {item.call_id for item in items if item.type == "function_call_output"}
        calls = [item.call_id for item in items if item.type == "function_call"]
        return [call_id for call_id in calls if call_id is not None and call_id not in answered]

    def user_texts(self, generation_id: str) -> list[str]:
        """The user's messages in a conversation, in order."""
        items = [entry.item for entry in self.conversations[generation_id]]
        return [item.text for item in items if item.type == "message" and item.role == "user"]

    async def _chore(self, name: str, work: Callable[[], T]) -> T:
        await self._stage.point(name)
        fate = self._chores.pop(0) if self._chores else None
        if fate is not None and not fate.done:
            raise ServerProblem(fate.facts)
        result = work()
        await self._stage.point(f"{name} done")
        if fate is not None:
            raise ServerProblem(fate.facts)
        return result

    def _conversation(self, generation_id: str | None) -> list[_Stored]:
        if generation_id not in self.conversations:
            message = f"Conversation with id '{generation_id}' not found."
            raise ServerProblem(Facts("request", message, 404, type="invalid_request_error"))
        return self.conversations[generation_id]

    def _refuse_what_the_api_refuses(self, request: ModelRequest) -> None:
        outputs = [str(item["call_id"]) for item in request.input if item.get("type") == "function_call_output"]
        waiting: list[str] = []
        if request.generation_id is not None:
            self._conversation(request.generation_id)
            waiting = self.open_calls(request.generation_id)
        for call_id in outputs:
            if call_id not in waiting:
                self._refuse(f"No tool call found for function call output with call_id {call_id}.")
        for call_id in waiting:
            if call_id not in outputs:
                self._refuse(f"No tool output found for function call {call_id}.")
        if request.max_output_tokens is not None and request.max_output_tokens < 16:
            self._refuse("max_output_tokens is below the minimum value of 16.")

    def _refuse(self, message: str) -> None:
        raise ServerProblem(Facts("request", message, 400, type="invalid_request_error"))

    def _work(self, request: ModelRequest, act: Act) -> ModelAnswer:
        response_id = self._id("resp")
        allowed = request.max_output_tokens or LARGEST_OUTPUT
        items = [Item("message", act.text, role="assistant", id=self._id("msg"), status=act.status)] if act.text else []
        calls = [ToolCall(self._id("call"), "lookup", {"n": number}, json.dumps({"n": number})) for number in act.calls]
        items += [
            Item("function_call", call.arguments_json, id=self._id("fc"), call_id=call.id, name=call.name)
            for call in calls
        ]
        output_tokens = min(allowed, max(len(items), math.ceil(allowed * act.share)))
        if (not act.reports or act.lost) and act.status == "completed":  # nothing but what its items show
            output_tokens = min(allowed, len(items))
        usage = Usage(input_tokens=self._input_tokens(request), output_tokens=output_tokens, requests=1)
        if act.billed:
            self.bill.append(Billed(response_id, usage, act.reports))
        appends = "all" if act.status == "completed" else act.appends
        if request.generation_id is not None and appends != "nothing":
            conversation = self._conversation(request.generation_id)
            conversation += [self._store(_item_of(entry)) for entry in request.input]
            if appends == "all":
                conversation += [_Stored(item, output_tokens // len(items) + FRAMING) for item in items]
        made = self.answers[response_id] = ModelAnswer(
            response_id,
            act.status,
            act.text,
            tuple(calls),
            usage if act.reports and act.billed else None,
            request.model,
            _failure_of(act),
            "max_output_tokens" if act.status == "incomplete" else None,
            output_items=len(items),
            last_item_id=items[-1].id if items else None,
            hidden_output=output_tokens > sum(len(item.text.encode()) for item in items),
        )
        return made

    def _input_tokens(self, request: ModelRequest) -> int:
        total = self._tokens(request.instructions) + sum(self._tokens(text_of(entry)) for entry in request.input)
        if request.tools:
            total += self._tokens(json.dumps(TOOLS))
        if request.generation_id is not None:
            total += sum(entry.tokens for entry in self._conversation(request.generation_id))
        return total

    def _tokens(self, text: str) -> int:
        return math.ceil(len(text.encode()) * self._density) + FRAMING

    def _store(self, item: Item) -> _Stored:
        return _Stored(replace(item, id=item.id or self._id("item")), self._tokens(item.text))

    def _id(self, prefix: str) -> str:
        self._ids += 1
        return f"{prefix}_{self._ids}"


class _Pieces:
    """An answer that arrives word by word."""

    sequence_number = None

    def __init__(self, stage: Stage, answer: ModelAnswer) -> None:
        self._stage = stage
        self._answer = answer
        self._words = re.findall(r"\S+\s*", answer.text)
        self.response_id = answer.id

    async def next(self) -> Piece | ModelAnswer:
        await self._stage.point("piece")
        return Piece(self._words.pop(0), shown=True) if self._words else self._answer

    async def close(self) -> None:
        await self._stage.point("close")


def _store_info(store_id: str) -> VectorStoreInfo:
    return VectorStoreInfo(store_id, "completed", 0, 1, 0, 1_000, None)


def _item_of(entry: Mapping[str, Any]) -> Item:
    if entry.get("type") == "function_call_output":
        return Item("function_call_output", text_of(entry), call_id=str(entry["call_id"]))
    return Item("message", text_of(entry), role="user")


def _failure_of(act: Act) -> Failure | None:
    if act.status == "failed":
        return classify(Facts("response", "the response ended failed", code=act.code))
    if act.status == "in_progress":
        return classify(Facts("request", "the server answered before it was done (in_progress)"))
    return None
