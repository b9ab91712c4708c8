"""JSON objects in files that were written by other programs, with the lines they begin in."""

from __future__ import annotations

import bisect
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from assistantguard.models.values import Value

__all__ = ["Bad", "Found", "objects_in"]

_SPACE = re.compile(r"[ \t\r\n]*")
_ANEW = re.compile(r"^[\[{]", re.MULTILINE)
_CAUSE = 200
"""Characters."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Bad(Value):
    """Something in a file that is not taken."""

    file: str
    line: int
    """From 1."""
    why: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.why[:_CAUSE]}"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Found(Value):
    """A JSON value in a file, and where it begins."""

    file: str
    line: int
    """From 1."""
    value: Any

    def bad(self, why: str) -> Bad:
        """Say why it is not taken."""
        return Bad(self.file, self.line, why)


def objects_in(text: str, file: str) -> Iterator[Found | Bad]:
    """The objects in the text of a file, in order.

    It holds JSON documents one after another, on a line each or on many. What stands in a list, or in the ``data`` of a
    list call's answer, counts on its own. Where a document is broken, reading goes on with the next line that begins
    with ``{`` or ``[``.

    Args:
        text: The file's.
        file: Its name.

    Yields:
        Each value, or what is no JSON.
    """
    return _Reader(text, file).read()


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._breaks = [found.start() for found in re.finditer("\n", text)]
        self._decode = json.JSONDecoder(parse_constant=_no_constant).raw_decode

    def read(self) -> Iterator[Found | Bad]:
        place = self._past_space(1 if self._text.startswith("\ufeff") else 0)
        while place < len(self._text):
            try:
                value, end = self._decode(self._text, place)
            except (ValueError, RecursionError) as error:
                why = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
                if isinstance(error, json.JSONDecodeError):
                    why = f"{error.msg} (line {error.lineno})"
                yield Bad(self._file, self._line(place), f"this is no JSON: {why}")
                anew = _ANEW.search(self._text, place + 1)
                place = len(self._text) if anew is None else anew.start()
                continue
            yield from self._within(value, place)
            place = self._past_space(end)

    def _within(self, value: Any, place: int) -> Iterator[Found]:
        """The values that count on their own in one that begins at `place`."""
        if isinstance(value, list):
            yield from self._entries(place)
        elif isinstance(value, dict) and isinstance(value.get("data"), list) and value.get("object") in ("list", None):
            yield from self._entries(self._data_of(place))
        else:
            yield Found(self._file, self._line(place), value)

    def _entries(self, place: int) -> Iterator[Found]:
        """The entries of the list that begins at `place`, and is known to be one."""
        place = self._past_space(place + 1)
        while self._text[place] != "]":
            value, end = self._decode(self._text, place)
            yield from self._within(value, place)
            place = self._past_space(end)
            if self._text[place] == ",":
                place = self._past_space(place + 1)

    def _data_of(self, place: int) -> int:
        """Where the list ``data`` of the object that begins at `place` begins; of several the last one counts."""
        found = place
        place = self._past_space(place + 1)
        while self._text[place] != "}":
            name, end = self._decode(self._text, place)
            place = self._past_space(self._past_space(end) + 1)
            if name == "data":
                found = place
            _, end = self._decode(self._text, place)
            place = self._past_space(end)
            if self._text[place] == ",":
                place = self._past_space(place + 1)
        return found

    def _past_space(self, place: int) -> int:
        space = _SPACE.match(self._text, place)
        assert space is not None
        return space.end()

    def _line(self, place: int) -> int:
        return bisect.bisect_left(self._breaks, place) + 1


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is no number of JSON")
