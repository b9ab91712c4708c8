"""Which pieces of a text an assistant is likely to need to the letter, in any language and domain."""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["MAX_VALUE", "find_values", "worth"]

MAX_VALUE = 120
"""Characters. A longer piece is text, not a value."""

_QUOTES = "\u00ab\u00bb\u2018\u2019\u201c\u201d\u300a-\u300f"
_TOKEN = re.compile(
    rf"[^\s,;\"'`()\[\]{{}}<>|*={_QUOTES}\u2026\u060c\u061b\u3001\u3002\uff01\uff08\uff09\uff0c\uff1a\uff1b\uff1f]+"
)
_QUOTED = re.compile(
    r"\"([^\"\n]{2,60})\"|`([^`\n]{2,60})`|\u201c([^\u201d\n]{2,60})\u201d|\u00ab([^\u00bb\n]{2,60})\u00bb"
    r"|[\u300c\u300e\u300a]([^\u300d\u300f\u300b\n]{2,60})[\u300d\u300f\u300b]|(?<!\w)'([^'\n]{2,60})'(?!\w)"
)
_QUOTE = re.compile(r"[\"`'\u00ab\u201c\u300a\u300c\u300e]")
_UNCASED = re.compile(r"[\u0590-\u109f\u1100-\u11ff\u1780-\u18af\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
_CASED_RUN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-.@:/+#$%]*[A-Za-z0-9]|[0-9]")
_EDGE = ".:!?-_/\\~\u0964\u061f"
_ENDS_SENTENCE = ".!?:\u0964\u061f"
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")
_NUMBER = re.compile(r"[-+$\u20ac\u00a3\u00a5\u20b9#]?\d+(?:[.,]\d+)*[%\u20ac]?")
_DATE = re.compile(r"\d{1,4}([-/.])\d{1,2}\1\d{1,4}([ T]\d{1,2}:\d{2}(:\d{2})?(\.\d+)?)?(Z|[+-]\d{2}:?\d{2})?")


def find_values(text: str, words: set[str] | None = None) -> Iterator[str]:
    """Yield identifiers, numbers, dates, addresses, names and quoted pieces in the order they stand in.

    Args:
        text: One line.
        words: Takes up the words that stand in lower case, where given.
    """
    name: list[str] = []
    new_sentence = True
    for match in _TOKEN.finditer(text):
        raw = match.group()
        token = raw.strip(_EDGE)
        if not token:
            continue
        ends_sentence = raw[-1] in _ENDS_SENTENCE
        if token.isalpha() and token.islower() and token.isascii():
            if name:
                yield " ".join(name)
                name = []
            if words is not None:
                words.add(token)
            new_sentence = ends_sentence
            continue
        follows = text[match.end() : match.end() + 2]
        if _is_capitalised(token):
            # The first word of a sentence is capitalised anyway: it begins a name if another capital follows.
            if name or not new_sentence or token.isupper() or follows.strip()[:1].isupper():
                name.append(token)
            if name and (ends_sentence or follows[:1] not in {" ", ""}):
                yield " ".join(name)
                name = []
        else:
            if name:
                yield " ".join(name)
                name = []
            if _UNCASED.search(token):
                yield from _CASED_RUN.findall(token)
            elif _is_identifier(token):
                if len(token) <= MAX_VALUE:
                    yield token
            elif words is not None:
                words.add(token)
        new_sentence = ends_sentence
    if name:
        yield " ".join(name)
    for groups in _QUOTED.findall(text) if _QUOTE.search(text) else ():
        yield from (group.strip() for group in groups if group.strip())


def worth(value: str) -> float:
    """How likely the shape of a value makes it one that must be kept to the letter: above 0, up to 1."""
    if _DATE.fullmatch(value):
        return 0.8
    if _NUMBER.fullmatch(value):
        digits = sum(character.isdigit() for character in value)
        return 0.1 if digits < 3 else 0.4 if digits < 5 else 0.9
    has_capital = value.lower() != value
    if " " in value and not has_capital:
        return 0.25
    if "@" in value or "_" in value or "://" in value:
        return 1.0
    if _DIGIT.search(value):
        return 0.4 if len(value) < 4 or " " in value or not _LETTER.search(value) else 1.0
    if value.isupper() and 2 <= len(value) <= 8:
        return 0.6
    return 0.5 if has_capital else 0.25


def _is_capitalised(token: str) -> bool:
    return token[0].isupper() and len(token) > 1 and "_" not in token and not _DIGIT.search(token)


def _is_identifier(token: str) -> bool:
    if _DIGIT.search(token) or "@" in token or "_" in token or "://" in token:
        return True
    return not token[1:].islower() and not token.isupper() and any(map(str.isupper, token[1:]))
