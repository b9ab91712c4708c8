"""What the sandbox remembers: items, conversations, responses. Everything lives on the server's event loop."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from assistantguard._refusals import ApiProblem, invalid
from assistantguard.sandbox.counting import item_key, item_tokens
from assistantguard.sandbox.problems import locked, not_found

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assistantguard.sandbox.conduct import After
    from assistantguard.sandbox.waiting import EventLog

__all__ = [
    "Chain",
    "ConversationState",
    "Ids",
    "Item",
    "State",
    "StoredResponse",
    "check_pairs",
    "open_call",
    "orphaned_output",
]


class Ids:
    """Makes ids that say they are a sandbox's: ``resp_sandbox_3f9c2a_17``. Unique over sandboxes."""

    def __init__(self) -> None:
        self._mark = secrets.token_hex(4)
        self._last = 0

    def make(self, prefix: str) -> str:
        """Return a new id, for example for ``prefix="resp_"``."""
        self._last += 1
        return f"{prefix}sandbox_{self._mark}_{self._last}"


@dataclass(slots=True, eq=False)
class Item:
    """One item of a context, with its price in tokens."""

    data: dict[str, Any]
    key: str
    """Stands for the item in the prompt; see `item_key`."""
    tokens: int
    needs: str | None = None
    """Id of the reasoning item that it was produced with."""
    followed_by: str | None = None
    """For a reasoning item that the model produced: id of the item that must come next."""

    @classmethod
    def of(cls, data: dict[str, Any], needs: str | None = None) -> Item:
        """Count an item and wrap it."""
        return cls(data, item_key(data), item_tokens(data), needs)


class Chain:
    """A context that shares its beginning with others: what came before, and the items after it."""

    __slots__ = ("before", "items", "tokens")

    def __init__(self, before: Chain | None, items: Sequence[Item]) -> None:
        self.before = before
        self.items = tuple(items)
        self.tokens: int = sum(item.tokens for item in items) + (0 if before is None else before.tokens)

    def all(self) -> list[Item]:
        """Return all items in order."""
        parts: list[tuple[Item, ...]] = []
        link: Chain | None = self
        while link is not None:
            parts.append(link.items)
            link = link.before
        return [item for part in reversed(parts) for item in part]


def check_pairs(items: Sequence[Item]) -> ApiProblem | None:
    """Return what is wrong with a whole context: an open call, an orphaned output, a broken reasoning pair."""
    open_calls: dict[str, None] = {}
    present = {item.data.get("id") for item in items}
    for position, item in enumerate(items):
        kind = item.data["type"]
        if kind == "function_call":
            open_calls[item.data["call_id"]] = None
        elif kind == "function_call_output":
            call_id = item.data["call_id"]
            if call_id not in open_calls:
                return orphaned_output(call_id)
            del open_calls[call_id]
        elif kind == "reasoning" and item.followed_by is not None:
            following = items[position + 1].data["id"] if position + 1 < len(items) else None
            if following != item.followed_by:
                return invalid(
                    "input",
                    f"Item '{item.data['id']}' of type 'reasoning' was provided without its required following item.",
                )
        if item.needs is not None and item.needs not in present:
            return invalid(
                "input",
                f"Item '{item.data['id']}' of type '{kind}' was provided without its required 'reasoning' item: "
                f"'{item.needs}'.",
            )
    for call_id in open_calls:
        return open_call(call_id)
    return None


def open_call(call_id: str) -> ApiProblem:
    """Make the 400 for a function call that nothing answers."""
    return invalid("input", f"No tool output found for function call {call_id}.")


def orphaned_output(call_id: str) -> ApiProblem:
    """Make the 400 for an output without its call."""
    return invalid("input", f"No tool call found for function call output with call_id {call_id}.")


@dataclass(slots=True, eq=False)
class ConversationState:
    """A conversation and its items."""

    id: str
    created_at: int
    metadata: dict[str, str]
    items: list[Item] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    tokens: int = 0
    chain: Chain = field(default_factory=lambda: Chain(None, ()))
    """The same items, to be shared with responses."""
    open_calls: dict[str, None] = field(default_factory=dict)
    """Call ids without an output, where `whole` holds."""
    whole: bool = True
    """False once items were deleted or added by hand: pairs are then checked over all items."""
    active: bool = False
    """Whether a request works on it."""
    locked_until: float = 0.0
    """When someone else's work on it ends, in seconds since 1970."""

    @property
    def document(self) -> dict[str, Any]:
        """The conversation as the API shows it."""
        return {
            "id": self.id,
            "object": "conversation",
            "created_at": self.created_at,
            "metadata": self.metadata,
        }

    def check_free(self, now: float) -> None:
        """Raise the 400 for a conversation that something works on."""
        if self.active or now < self.locked_until:
            raise locked()

    def append(self, items: list[Item]) -> None:
        """Add items at the end."""
        self.chain = Chain(self.chain, items)
        for item in items:
            self.items.append(item)
            self.ids.add(item.data["id"])
            self.tokens += item.tokens
            if item.data["type"] == "function_call":
                self.open_calls[item.data["call_id"]] = None
            elif item.data["type"] == "function_call_output":
                self.open_calls.pop(item.data["call_id"], None)

    def remove(self, item_id: str) -> None:
        """Delete one item.

        Raises:
            ApiProblem: 404 where there is none of that id.
        """
        item = self.item(item_id)
        self.items.remove(item)
        self.chain = Chain(None, self.items)
        self.ids.discard(item_id)
        self.tokens -= item.tokens
        self.whole = False

    def item(self, item_id: str) -> Item:
        """Return one item.

        Raises:
            ApiProblem: 404 where there is none of that id.
        """
        if item_id in self.ids:
            for item in reversed(self.items):
                if item.data["id"] == item_id:
                    return item
        raise not_found(f"Item with id '{item_id}' not found in conversation.")

    def check(self, new: list[Item]) -> None:
        """Raise the 400 for a context that does not hold together once `new` is added."""
        if not self.whole or any(item.data["type"] == "reasoning" for item in new):
            problem = check_pairs([*self.items, *new])
            if problem is not None:
                raise problem
            return
        open_calls = dict(self.open_calls)
        for item in new:
            kind = item.data["type"]
            if kind == "function_call":
                open_calls[item.data["call_id"]] = None
            elif kind == "function_call_output":
                call_id = item.data["call_id"]
                if call_id not in open_calls:
                    raise orphaned_output(call_id)
                del open_calls[call_id]
        for call_id in open_calls:
            raise open_call(call_id)


@dataclass(slots=True, eq=False)
class StoredResponse:
    """A response that can be read again and continued."""

    document: dict[str, Any]
    inputs: Chain
    """All items before its output."""
    context: Chain
    """All items up to and with its output."""
    background: bool = False
    """Whether it was made in the background."""
    log: EventLog | None = None
    """Its events, where it was asked for as a background stream."""


@dataclass(slots=True, eq=False)
class _Later:
    """Something that happens to a response some time after it ended."""

    response_id: str
    due_at: float | None
    reads: int | None
    happen: Callable[[], None]
    forget: Callable[[], None]


class State:
    """All conversations and responses of a sandbox.

    Args:
        keep_responses: How many responses can be read again; the oldest are forgotten. None keeps all.
    """

    def __init__(self, *, keep_responses: int | None = None) -> None:
        self.ids = Ids()
        self.conversations: dict[str, ConversationState] = {}
        self.responses: dict[str, StoredResponse] = {}
        self._keep = keep_responses
        self._later: list[_Later] = []
        self._ahead = 0.0

    def now(self) -> float:
        """Return the sandbox's time, in seconds since 1970."""
        return time.time() + self._ahead

    def advance(self, seconds: float) -> None:
        """Put the sandbox's clock forward."""
        self._ahead += seconds

    def store(self, stored: StoredResponse) -> None:
        """Keep a response, and forget the oldest ones where only so many are kept."""
        self.responses[stored.document["id"]] = stored
        while self._keep is not None and len(self.responses) > self._keep:
            self.forget_response(next(iter(self.responses)))

    def forget_response(self, response_id: str) -> None:
        """Forget a response, and what was to happen to it when it is read.

        Raises:
            ApiProblem: 404 where there is none of that id.
        """
        self.response(response_id)
        del self.responses[response_id]
        for one in list(self._later):
            if one.response_id == response_id and one.due_at is None:
                self._later.remove(one)
                one.forget()

    def later(self, response_id: str, moment: After, happen: Callable[[], None], forget: Callable[[], None]) -> None:
        """Let something happen to a response at a moment after now, or be forgotten with the response."""
        due_at = None if moment.seconds is None else self.now() + moment.seconds
        self._later.append(_Later(response_id, due_at, moment.reads, happen, forget))

    def catch_up(self) -> None:
        """Let happen what is due by the clock."""
        if not self._later:
            return
        now = self.now()
        for one in list(self._later):
            if one.due_at is not None and one.due_at <= now:
                self._later.remove(one)
                one.happen()

    def read_response(self, response_id: str) -> StoredResponse:
        """Return a response that a client reads, and let happen what is due by the number of reads.

        Raises:
            ApiProblem: 404 where there is none of that id.
        """
        stored = self.response(response_id)
        for one in list(self._later):
            if one.response_id == response_id and one.reads is not None:
                if one.reads > 0:
                    one.reads -= 1
                else:
                    self._later.remove(one)
                    one.happen()
        return stored

    def conversation(self, conversation_id: str) -> ConversationState:
        """Return a conversation.

        Raises:
            ApiProblem: 404 where there is none of that id.
        """
        found = self.conversations.get(conversation_id)
        if found is None:
            raise not_found(f"Conversation with id '{conversation_id}' not found.")
        return found

    def response(self, response_id: str) -> StoredResponse:
        """Return a stored response.

        Raises:
            ApiProblem: 404 where there is none of that id.
        """
        found = self.responses.get(response_id)
        if found is None:
            raise not_found(f"Response with id '{response_id}' not found.")
        return found
