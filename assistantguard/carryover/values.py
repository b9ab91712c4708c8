"""Which pieces of a text an assistant is likely to need to the letter, in any language and domain."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["find_values", "worth"]

MAX_VALUE = 120
"""Characters. A longer piece is text, not a value."""

_TOKEN = re.compile(r"[^\s,;\"'`()\[\]{}<>|*=\u00ab\u00bb\u2018\u2019\u201c\u201d\u2026\u3001\u3002\u300a-\u300f\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]+")
_QUOTED = re.compile(r"\"([^\"\n]{2,60})\"|`([^`\n]{2,60})`|\u201c([^\u201d\n]{2,60})\u201d|\u00ab([^\u00bb\n]{2,60})\u00bb|\u300c([^\u300d\n]{2,60})\u300d|(?<!\w)'([^'\n]{2,60})'(?!\w)")
_LATIN_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.@:/#+$%]*[A-Za-z0-9]|[0-9]")
_UNCASED = re.compile(r"[\u0590-\u08ff\u0900-\u0fff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_EDGE = ".:!?-_/\\~\u060c\u061b\u061f\u0964"
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T]\d{1,2}:\d{2}(:\d{2})?(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?")
_PLAIN_NUMBER = re.compile(r"[-+$\u20ac\u00a3\u00a5#]?\d+(?:[.,]\d+)*%?")


def find_values(text: str, words: set[str] | None = None) -> Iterator[str]:
    """Yield identifiers, numbers, dates, addresses, names and quoted pieces in the order they stand in.

    Args:
        text: One line.
        words: Takes up the words that stand in lower case, where given.
    """
    name: list[str] = []
    start_of_sentence = True
    for match in _TOKEN.finditer(text):
        raw = match.group()
        token = raw.strip(_EDGE)
        if not token:
            continue
        ends_sentence = raw[-1] in ".!?:"
        if token[0].isupper() and len(token) > 1 and not _DIGIT.search(token) and "_" not in token:
            if name or not start_of_sentence or token.isupper():
                name.append(token)
            elif text[match.end() : match.end() + 2].strip()[:1].isupper():
                name.append(token)
            if name and (ends_sentence or raw[-1:] == "," or text[match.end() : match.end() + 1] not in (" ", "")):
                yield " ".join(name)
                name = []
        else:
            if name:
                yield " ".join(name)
                name = []
            if _UNCASED.search(token):
                yield from _LATIN_RUN.findall(token)
            elif len(token) <= MAX_VALUE and (_DIGIT.search(token) or "@" in token or "_" in token or "://" in token or _camel(token)):
                yield token
            elif words is not None:
                words.add(token)
        start_of_sentence = ends_sentence
    if name:
        yield " ".join(name)
    for groups in _QUOTED.findall(text):
        yield from (group.strip() for group in groups if group.strip())


def _camel(token: str) -> bool:
    return any(character.isupper() for character in token[1:]) and not token.isupper()


def worth(value: str) -> float:
    """How likely the shape of a value makes it one that must be kept to the letter: above 0, up to 1."""
    if _DATE.fullmatch(value):
        return 0.8
    if _PLAIN_NUMBER.fullmatch(value):
        digits = sum(character.isdigit() for character in value)
        return 0.1 if digits < 3 else 0.4 if digits < 5 else 0.9
    if " " in value and not any(character.isupper() for character in value):
        return 0.25
    if "@" in value or "_" in value or "://" in value:
        return 1.0
    if _DIGIT.search(value):
        return 0.4 if len(value) < 4 or " " in value or not _LETTER.search(value) else 1.0
    if value.isupper() and 2 <= len(value) <= 8:
        return 0.6
    if any(character.isupper() for character in value):
        return 0.5
    return 0.25
