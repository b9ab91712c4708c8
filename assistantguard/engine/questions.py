"""What a turn asks a cache of replies: the key of its question, and what becomes of the turn meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from assistantguard.engine.input import message_text, model_request
from assistantguard.engine.ports import ModelRequest
from assistantguard.models import Assistant
from assistantguard.models.values import Record
from assistantguard.replies.keys import (
    EMPTY,
    account_of,
    digest,
    normalised,
    packed,
    packed_question,
    question_of,
    settings_text,
    text_of_question,
)

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import ModelAnswer
    from assistantguard.models import RunState, ThreadState, Usage
    from assistantguard.policies.reply_cache import ReplyCache
    from assistantguard.replies.flights import Flight

__all__ = ["Asked", "Questions", "look"]

_SAME_FOR_ALL = frozenset(
    {
        "assistant",
        "background",
        "cache_key",
        "client_request_id",
        "generation_id",
        "input",
        "instructions",
        "max_tool_calls",
        "metadata",
        "tools",
    }
)
"""What of a request does not tell how it is answered, or is looked at elsewhere."""
_NO_SETTINGS = frozenset({"instructions", "metadata", "model", "name", "tools"})
"""Likewise, of an assistant."""
_MOST_CHOICES = 1_000


@dataclass(slots=True, eq=False, repr=False)
class Asked(Record):
    """A question that the cache may answer, until its turn is over."""

    key: str
    group: str
    """Empty where nobody looks for similar questions."""
    text: str | None
    """The question where it is nothing but text."""
    question: str
    """As it is compared, as one text."""
    content: Any
    """The message, exactly."""
    context: str
    chosen: tuple[str, str | None, str | None]
    """The model, the effort and the service tier that were chosen for the run."""
    generation: int
    """In which generation it is asked."""
    usage: Usage
    """What the run had used before."""
    cost: Decimal | None
    owner: str
    flight: Flight | None = None
    """Where others in this process wait for it."""
    claimed: bool = False
    """Whether others that share the store may wait for it."""
    over: bool = False
    """Whether nobody is to wait for it any more."""
    requests: int = 0
    plain: bool = True
    """Whether no tool was used so far."""
    refused: bool = False
    """Whether the model declined to answer."""
    doubt: bool = False
    """Whether an attempt may have left something in the conversation."""


class Questions:
    """Makes keys of questions.

    Args:
        asking: The policies.
        policy: The cache, whose settings tell which questions are the same.
    """

    def __init__(self, asking: Asking, policy: ReplyCache) -> None:
        self._asking = asking
        self._session = asking.session
        self._policy = policy
        self._normalise = policy.normalise or normalised
        self._settings_of: tuple[Assistant, Any] | None = None
        """The assistant and the tools that `_settings` are of."""
        self._settings: dict[tuple[str, str | None, str | None], str] = {}
        """Digests of all that requests say beside their input, by what is chosen for each run."""

    def of(self, thread: ThreadState, run: RunState) -> Asked | None:
        """The question of a run; None where it has no part in the cache.

        Raises what a function of the policy raises, and `TypeError` for what JSON does not know.
        """
        context = EMPTY if thread.generation_id is None else thread.context_digest
        if context is None or thread.suspect or thread.backlog or thread.file_ids or thread.vector_store_id is not None:
            return None
        if len(run.input) != 1 or run.input[0].get("role") != "user" or run.answers:
            return None
        policy, content = self._policy, run.input[0].get("content", "")
        if callable(policy.scope):
            named = policy.scope(self._asking.view(thread, run, message_text(content), run.model))
            if named is None:
                return None
            if not isinstance(named, str):
                raise TypeError(f"scope returned {type(named).__name__}, it must return a str or None")
            account = packed("named", named)
        else:
            account = account_of(policy.scope, thread)
        parts = question_of(content, self._normalise)
        question = packed_question(parts)
        chosen = run.model, run.reasoning_effort, run.service_tier
        # The first is of known parts, the next two are always equally long: no two questions look alike.
        asked_of = f"{account}{self._settings_for(thread, run, chosen)}{context}"
        group, text = "", None
        if policy.similar is not None:
            group, text = digest(f"group{asked_of}"), text_of_question(parts)
        key = digest(f"question{asked_of}{question}")
        before = (thread.generation, run.usage, run.cost)
        return Asked(key, group, text, question, content, context, chosen, *before, run.id)

    def _settings_for(self, thread: ThreadState, run: RunState, chosen: tuple[str, str | None, str | None]) -> str:
        """A digest of all that the first request of a run says beside its input."""
        session, known = self._session, self._settings_of
        if known is None or known[0] is not session.assistant or known[1] is not session.tools:
            self._settings_of, self._settings = (session.assistant, session.tools), {}
        settings = self._settings.get(chosen)
        if settings is None:
            if len(self._settings) >= _MOST_CHOICES:
                self._settings.clear()
            request = model_request(thread, run, session)
            said = settings_text(request.instructions, list(request.tools), _ASSISTANT(session.assistant))
            settings = self._settings[chosen] = digest(said + settings_text(_REQUEST(request)))
        return settings


def look(answer: ModelAnswer, tools: Sequence[Mapping[str, Any]]) -> tuple[bool, bool]:
    """Whether an answer is nothing but what the model said, and whether it says no."""
    plain = not answer.tool_calls and not answer.builtin_calls
    if not answer.output:  # this server does not tell
        return plain and all(tool.get("type") == "function" for tool in tools), False
    refuses = False
    for item in answer.output:
        kind = item.get("type") if isinstance(item, dict) else getattr(item, "type", None)
        if kind == "message":
            parts = item.get("content") if isinstance(item, dict) else getattr(item, "content", None)
            for part in parts if isinstance(parts, list) else ():
                if (part.get("type") if isinstance(part, dict) else getattr(part, "type", None)) == "refusal":
                    refuses = True
        elif kind != "reasoning":
            plain = False
    return plain, refuses


_REQUEST: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(ModelRequest) if field.name not in _SAME_FOR_ALL)
)
_ASSISTANT: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(Assistant) if field.name not in _NO_SETTINGS)
)
