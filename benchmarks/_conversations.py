"""A server in the process that many conversations talk to at once, and that counts what became of their messages."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import openai

from benchmarks.canned import TEXT, TOOL_MARK, http_library, message, response, tool_call

__all__ = ["ConversationServer", "Losses", "answer_to", "message_of"]

_TEXT_OF_USER = "Thank you. And the parcel, when is it going to be here? I am at home on Thursday morning only."
_NAME = re.compile(r"\[conversation (\d+), message (\d+)\]")


def message_of(conversation: int, number: int, *, asks_tool: bool) -> str:
    """The user message `number` of a conversation, both counted from 0. No two are the same."""
    return f"{TOOL_MARK if asks_tool else ''} {_TEXT_OF_USER} [conversation {conversation}, message {number}]"


def answer_to(conversation: int, number: int) -> str:
    """What the server answers to that message, and to no other."""
    return f"{TEXT} [conversation {conversation}, message {number}]"


@dataclass(slots=True, eq=False)
class _Conversation:
    """One conversation, as the server has it."""

    messages: list[tuple[int, int]] = field(default_factory=list)
    """Conversation and number in each user message, as they came."""
    open_call: str | None = None
    busy: bool = False


@dataclass(frozen=True, slots=True)
class Losses:
    """Messages that did not come as they were sent. All are 0 where nothing went wrong."""

    lost: int
    """Never came."""
    doubled: int
    """Came again."""
    out_of_order: int
    """Came after a later one of their conversation."""
    misplaced: int
    """Came into a conversation on the server that belongs to another one."""
    refused: int
    """Came while their conversation was busy, or without the output that it waited for, and were refused."""

    @property
    def any(self) -> bool:
        """Whether anything went wrong."""
        return any(asdict(self).values())


class ConversationServer:
    """Conversations and responses, each answered after a wait. Messages are those of `message_of`.

    A message with `TOOL_MARK` gets a tool call first. As on the API, a conversation takes one request at a time, and
    none while a tool call has no output.

    Attributes:
        wait: Gives the seconds until a model call is answered, for a conversation and a message's number.
        requests: Model calls that were answered.
    """

    def __init__(self) -> None:
        self.wait: Callable[[int, int], float] = _at_once
        self._http = http_library()
        self._conversations: dict[str, _Conversation] = {}
        self._made = 0
        self._refused = 0
        self.requests = 0

    def client(self) -> openai.AsyncOpenAI:
        """A client of this server."""
        transport = self._http.MockTransport(self._answer)
        return openai.AsyncOpenAI(
            api_key="sk-canned", max_retries=0, http_client=self._http.AsyncClient(transport=transport)
        )

    def forget(self) -> None:
        """Drop all conversations and counts."""
        self._conversations = {}
        self._refused = self.requests = 0

    def losses(self, conversations: int, turns: int) -> Losses:
        """Compare what came with what was sent: `turns` messages in each of so many conversations, in order."""
        came = Counter(message for conversation in self._conversations.values() for message in conversation.messages)
        sent = {(conversation, number) for conversation in range(conversations) for number in range(turns)}
        lists = [conversation.messages for conversation in self._conversations.values()]
        return Losses(
            len(sent - came.keys()),
            sum(count - 1 for count in came.values()) + sum(came[message] for message in came.keys() - sent),
            sum(_descents([number for _, number in messages]) for messages in lists),
            sum(name != messages[0][0] for messages in lists for name, _ in messages),
            self._refused,
        )

    async def _answer(self, request: Any) -> Any:
        body = json.loads(request.content)
        if request.url.path.endswith("/conversations"):
            self._made += 1
            conversation_id = f"conv_{self._made}"
            self._conversations[conversation_id] = _Conversation()
            return self._json(
                200, {"id": conversation_id, "object": "conversation", "created_at": 1_790_000_000, "metadata": {}}
            )
        conversation = self._conversations[body["conversation"]]
        outputs = [item["call_id"] for item in body["input"] if item["type"] == "function_call_output"]
        if conversation.busy or outputs != [call for call in (conversation.open_call,) if call is not None]:
            self._refused += 1
            return self._json(400, {"error": {"message": "busy, or an output is missing", "type": "bad", "code": None}})
        conversation.busy = True
        try:
            return await self._respond(conversation, body)
        finally:
            conversation.busy = False

    async def _respond(self, conversation: _Conversation, body: dict[str, Any]) -> Any:
        texts = [str(item["content"]) for item in body["input"] if item["type"] == "message"]
        new = [(int(name[1]), int(name[2])) for name in map(_NAME.search, texts) if name is not None]
        conversation.messages += new
        name, number = conversation.messages[-1]
        await asyncio.sleep(self.wait(name, number))
        self.requests += 1
        conversation.open_call = None
        item = message(answer_to(name, number))
        if any(TOOL_MARK in text for text in texts):
            conversation.open_call = f"call_{self.requests}"
            item = tool_call(conversation.open_call)
        return self._json(200, response(item, f"resp_{self.requests}", body["conversation"]))

    def _json(self, status: int, document: dict[str, Any]) -> Any:
        content = json.dumps(document).encode()
        return self._http.Response(status, content=content, headers={"content-type": "application/json"})


def _at_once(conversation: int, number: int) -> float:  # noqa: ARG001 - any message is answered as soon
    return 0.0


def _descents(numbers: Sequence[int]) -> int:
    """How many numbers stand behind a greater one."""
    greatest, found = -1, 0
    for number in numbers:
        found += number < greatest
        greatest = max(greatest, number)
    return found
