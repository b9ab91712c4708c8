"""What a turn asks a cache of replies: the key of its question, and what becomes of the turn meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from decimal import Decimal
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from assistantguard.engine.input import message_text, model_request
from assistantguard.engine.ports import ModelRequest
from assistantguard.models import Assistant
from assistantguard.models.values import Record
from assistantguard.replies.keys import EMPTY, Question, account_of, digest, normalised, question_of, text_of_question

if TYPE_CHECKING:
    from assistantguard.engine.asking import Asking
    from assistantguard.engine.ports import ModelAnswer
    from assistantguard.models import RunState, ThreadState, Usage
    from assistantguard.policies.reply_cache import ReplyCache
    from assistantguard.replies.flights import Flight

__all__ = ["Asked", "Questions", "is_plain"]

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
_PLAIN = frozenset({"message", "reasoning"})
"""The items of an answer for which no tool was used."""


@dataclass(slots=True, eq=False, repr=False)
class Asked(Record):
    """A question that the cache may answer, until its turn is over."""

    key: str
    group: str
    text: str | None
    """The question where it is nothing but text."""
    question: Question
    content: Any
    """The message, exactly."""
    context: str
    generation: int
    """In which generation it is asked."""
    usage: Usage
    """What the run had used before."""
    cost: Decimal | None
    owner: str
    flight: Flight | None = None
    """Where others in this process wait for it."""
    claimed: bool = False
    """Whether others that share the store wait for it."""
    requests: int = 0
    plain: bool = True
    """Whether no tool was used so far."""
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
        self._settings: tuple[Assistant | None, Any, str, str] | None = None
        """Of the request that was seen last, with their digest."""

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
            account: list[str | None] = ["named", named]
        else:
            account = account_of(policy.scope, thread)
        question = question_of(content, policy.normalise or normalised)
        group = digest(account, self._assistant(model_request(thread, run, self._session)), context)
        key, text = digest(group, question), text_of_question(question)
        return Asked(key, group, text, question, content, context, thread.generation, run.usage, run.cost, run.id)

    def _assistant(self, request: ModelRequest) -> list[Any]:
        """All that a request says beside its input."""
        known = self._settings
        same = known is not None and known[0] is request.assistant and known[1] is request.tools
        if not same or known is None or known[2] is not request.instructions:
            settings = digest(request.instructions, list(request.tools), _settings_of(request.assistant))
            known = self._settings = (request.assistant, request.tools, request.instructions, settings)
        return [known[3], _REQUEST(request)]


def is_plain(answer: ModelAnswer, tools: Any) -> bool:
    """Whether an answer is nothing but what the model said."""
    if answer.tool_calls or answer.builtin_calls:
        return False
    if not answer.output:  # this server does not tell
        return not tools or all(tool.get("type") == "function" for tool in tools)
    return all(_field(item, "type") in _PLAIN and not _refuses(item) for item in answer.output)


def _refuses(item: Any) -> bool:
    parts = _field(item, "content")
    return isinstance(parts, list) and any(_field(part, "type") == "refusal" for part in parts)


def _field(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else getattr(value, name, None)


def _settings_of(assistant: Assistant | None) -> list[Any]:
    return [] if assistant is None else [*map(_jsonable, _ASSISTANT(assistant))]


def _jsonable(value: Any) -> Any:
    return dict(value) if hasattr(value, "keys") else value


_REQUEST: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(ModelRequest) if field.name not in _SAME_FOR_ALL)
)
_ASSISTANT: Callable[[Any], tuple[Any, ...]] = attrgetter(
    *(field.name for field in fields(Assistant) if field.name not in _NO_SETTINGS)
)
