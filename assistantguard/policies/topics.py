"""Noticing that a message leaves the topic of its thread. It suggests a new thread, and decides nothing."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from assistantguard.errors import ConfigurationError
from assistantguard.models.values import Value

__all__ = ["TopicCheck", "TopicJudge"]

TopicJudge = Callable[[str, Sequence[str]], bool]
"""A user's own judgement: a message and what was said on the thread before, oldest first, to whether it leaves the
topic."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class TopicCheck(Value):
    """When to suggest a new thread: ``AssistantGuard(…, topic_check=TopicCheck())``.

    The suggestion is a ``thread.suggested`` event and `Reply.suggestion`; the message is answered all the same. What
    was said is compared in memory, as far as this guard heard it, and kept nowhere else.

    Without a `judge` words are compared, which suits languages that put spaces between them. Short messages, such as
    "And what about that one?", are never taken for a new topic.

    Args:
        shared: A message that shares fewer of its words (0 to 1) with what was said before leaves the topic.
        min_words: How many different telling words a message must have to be judged.
        remember: How many of the last messages and replies are compared.
        judge: A function that judges instead. What it raises, the turn raises, before anything is sent.

    Raises:
        ConfigurationError: A value is out of its range.
    """

    shared: float = 0.1
    min_words: int = 5
    remember: int = 12
    judge: TopicJudge | None = None

    def __post_init__(self) -> None:
        if isinstance(self.shared, bool) or not isinstance(self.shared, (int, float)) or not 0 < self.shared <= 1:
            raise ConfigurationError(f"TopicCheck shared is {self.shared!r}, it must be above 0 and at most 1")
        for name in ("min_words", "remember"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigurationError(f"TopicCheck {name} is {value!r}, it must be a whole number of at least 1")
        if self.judge is not None and not callable(self.judge):
            raise ConfigurationError(
                f"TopicCheck judge is {self.judge!r}: give a function of a message and the texts before it"
            )

    def leaves(self, message: str, earlier: Sequence[str]) -> bool:
        """Whether `message` leaves the topic of the texts before it, oldest first."""
        if not earlier:
            return False
        if self.judge is not None:
            return bool(self.judge(message, earlier))
        words = _words(message)
        if len(words) < self.min_words:
            return False
        known: set[str] = set().union(*map(_words, earlier))
        return len(known) >= self.min_words and len(words & known) < self.shared * len(words)


def _words(text: str) -> set[str]:
    """The words that tell what a text is about, cut to their beginnings, so that forms of one word are one."""
    return {word[:6] for word in _WORD.findall(text.casefold()) if not _COMMON.fullmatch(word)}


_WORD = re.compile(r"[^\W\d_]{4,}|\w*\d\w*")
_COMMON = re.compile(
    r"about|after|also|back|been|before|being|both|came|come|could|does|done|down|each|even|every|first|from|"
    r"give|goes|going|good|great|have|hello|help|here|into|just|keep|know|like|long|look|made|make|many|more|"
    r"most|much|must|need|never|okay|only|other|over|please|really|said|same|shall|should|since|some|still|"
    r"such|sure|take|tell|than|thank|thanks|that|their|them|then|there|these|they|thing|think|this|those|"
    r"through|time|told|until|very|want|well|were|what|when|where|which|while|will|with|without|work|would|"
    r"your|yours"
)
