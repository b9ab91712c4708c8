"""A thread: the conversation as the application knows it."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from assistantguard.models.usage import Usage
from assistantguard.models.values import Record

__all__ = ["LateUsage", "ThreadState"]


@dataclass(slots=True, eq=False, repr=False)
class LateUsage(Record):
    """An answer whose usage stands on the books as an estimate, and that the server can be asked for."""

    hold_id: str
    response_id: str
    run_id: str
    attempt: int
    model: str
    purpose: str
    booked: Usage
    cost: Decimal | None
    """US dollars, as booked."""
    marks: list[str] = field(default_factory=list)
    """Of the request's input, by which it is told where it turns up late."""
    looks: int = 0
    """How often it was asked for in vain."""


@dataclass(slots=True, eq=False, repr=False)
class ThreadState(Record):
    """One conversation with a stable id, and the server-side generation that holds its context now."""

    id: str
    generation: int = 0
    """How many generations there were; 0 before the first request."""
    generation_id: str | None = None
    """The server's object (``conv_…``) that holds the context now; None before the first request."""
    generation_started_at: float = 0.0
    """Unix time, seconds."""
    turns: int = 0
    """Turns since the thread began."""
    generation_turns: int = 0
    """Turns since the last rotation."""
    context_tokens: int = 0
    """How many tokens the next request reads before anything new is added: exact after each settled run,
    since the last request's input and output are what the server then holds."""
    context_at_most: int = 0
    """A bound that `context_tokens` is surely not above."""
    context_known: bool = False
    """Whether `context_tokens` covers a whole request, instructions and tools included; else only what was carried."""
    last_item_id: str | None = None
    """The newest conversation item that is known to be settled, or None."""
    seed_items: int | None = None
    """How many items the generation began with, while no request has settled on it; then, or where unknown, None."""
    adopted: bool = False
    """Whether the generation was named by the application, and no request of ours has settled on it yet."""
    context_digest: str | None = None
    """A digest of all that was said in the generation, kept by a `ReplyCache`; None where it is not exactly known."""
    backlog: list[dict[str, Any]] = field(default_factory=list)
    """Tool outputs that the server must still be given: they go ahead of the next request's input."""
    fixed_tokens: int = 0
    """The part of the context that every request carries and no rotation removes (instructions and tools), from the
    first usage of the generation."""
    file_ids: tuple[str, ...] = ()
    """Files that the assistant may search on this thread."""
    vector_store_id: str | None = None
    vector_store_expires_at: float | None = None
    """Unix time, seconds, or None."""
    suspect: bool = False
    """Whether the generation must be looked at before the next request, since an outcome was not learned."""
    unsettled: list[str] = field(default_factory=list)
    """Marks of the input of requests whose outcome was not learned: what of it stands in the conversation is a half
    turn."""
    locked: bool = False
    """Whether the last turn found the conversation locked by somebody else to its end."""
    at_work: str | None = None
    """The id of an answer in the background that could not be cancelled: while it is made, the server lets no other
    request in."""
    strays: list[str] = field(default_factory=list)
    """Marks of input that attempts which were given up may yet add behind `last_item_id`; the next turn removes it."""
    late: list[LateUsage] = field(default_factory=list)
    """Answers whose usage the server has not told yet."""
    usage: Usage = field(default_factory=Usage)
    cost: Decimal | None = Decimal(0)
    """US dollars, or None where a price is unknown."""
    created_at: float = 0.0
    last_used_at: float = 0.0
    user: str | None = None
    """Whose thread it is; None for the application's own."""
    tenant: str | None = None
    """Which of the application's customers the user belongs to, where there are any."""
    name: str | None = None
    """What the user calls it; unique among the user's threads."""
    tags: tuple[str, ...] = ()
    archived_at: float | None = None
    """Unix time; None for a thread in use."""
    model: str | None = None
    """The model that a policy chose and that the thread keeps; None for the assistant's."""
    answered_by: str | None = None
    """The model that gave the last answer: what the server keeps in its prompt cache, it keeps for that model."""
    read_by: dict[str, list[float]] = field(default_factory=dict)
    """Models that the generation was taken from: how many tokens of it each had read, and when, in Unix time."""
