"""What makes two questions the same: digests over an encoding in which no two lists of texts look alike."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from assistantguard.models import Item, ThreadState

__all__ = [
    "EMPTY",
    "Question",
    "account_of",
    "context_after",
    "context_of",
    "digest",
    "normalised",
    "packed",
    "packed_question",
    "question_of",
    "settings_text",
    "text_of_question",
]

_BLANKS = re.compile(r"(?<=\S)[^\S\n]+")
_TEXT_PARTS = frozenset({"input_text", "text"})
_DIGEST_BYTES = 32

Question = list[tuple[str, str]]
"""The parts of a question: each is what kind it is, and its text or its exact JSON."""


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


_encode = json.JSONEncoder(separators=(",", ":"), sort_keys=True, default=_plain).encode


def packed(*parts: str | None) -> str:
    """Texts as one text, from which they can be told again: texts that differ never run into each other."""
    return "".join(["-" if part is None else f"{len(part)}:{part}" for part in parts])


def digest(told: str) -> str:
    """A digest of a text, always equally long.

    BLAKE2 since Python brings it itself: SHA-256 by way of OpenSSL takes several times as long for a short text.
    """
    return hashlib.blake2b(told.encode("utf-8", "surrogatepass"), digest_size=_DIGEST_BYTES).hexdigest()


def settings_text(*values: Any) -> str:
    """Settings as one text.

    Raises:
        TypeError: JSON does not know a value.
    """
    return _encode(values)


def normalised(text: str) -> str:
    """A text without what does not change its meaning: blanks at its ends and doubled ones, ways to write an accent.

    Upper and lower case, line breaks, and blanks that begin a line are kept.
    """
    text = text if text.isascii() else unicodedata.normalize("NFC", text)
    if "\n" not in text and "\r" not in text:
        return " ".join(text.split())
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(_BLANKS.sub(" ", line.rstrip()) for line in lines).strip()


def question_of(content: str | Sequence[Mapping[str, Any]], normalise: Callable[[str], str]) -> Question:
    """A message's content as it is compared: texts normalised, all else by its exact JSON.

    Raises:
        TypeError: JSON does not know what a part holds, or `normalise` did not return a text.
    """
    if isinstance(content, str):
        return [("text", _text(normalise(content)))]
    parts: Question = []
    for part in content:
        text = part.get("text")
        if part.get("type") in _TEXT_PARTS and isinstance(text, str) and len(part) == 2:
            parts.append(("text", _text(normalise(text))))
        else:
            parts.append(("json", _encode(part)))
    return parts


def packed_question(question: Question) -> str:
    """A question as one text."""
    return "".join([packed(kind, text) for kind, text in question])


def text_of_question(question: Question) -> str | None:
    """The text of a question that is nothing else; None for one with other parts."""
    return "\n".join(text for _, text in question) if all(kind == "text" for kind, _ in question) else None


def context_of(seeds: Sequence[Item]) -> str:
    """The context digest of a conversation that holds these items, and nothing else."""
    return digest("seeds" + "".join([packed(item.type, item.role, item.text) for item in seeds]))


def context_after(context: str, question: str, text: str) -> str:
    """The context digest after another turn.

    Args:
        context: The digest before it.
        question: The user's message as it is compared, from `packed_question`.
        text: The reply's.
    """
    return digest(f"turn{context}{len(question)}:{question}{text}")


def account_of(scope: str, thread: ThreadState) -> str:
    """Whose replies a thread may be given. A thread that has no user, or no tenant, is given fewer.

    Args:
        scope: ``"user"``, ``"tenant"`` or ``"everyone"``.
        thread: Whose turn it is.
    """
    if scope == "everyone":
        return packed("everyone")
    if scope == "tenant" and thread.tenant is not None:
        return packed("tenant", thread.tenant)
    return packed("thread", thread.id) if thread.user is None else packed("user", thread.tenant, thread.user)


def _text(text: Any) -> str:
    if not isinstance(text, str):
        raise TypeError(f"normalise returned {type(text).__name__}, it must return a str")
    return text


EMPTY = context_of([])
"""The context digest of a conversation that holds nothing."""
