"""What is added up for each of many names, in memory that does not grow with their number."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any, Generic, Protocol, TypeVar

from typing_extensions import Self

from assistantguard.reports.tally import Top

__all__ = ["Groups", "Mergeable"]


class Mergeable(Protocol):
    """What can be added up in parts."""

    def merge(self, other: Self) -> None:
        """Add what another part has."""
        ...

    def pack(self) -> str:
        """It as text."""
        ...

    @classmethod
    def unpack(cls, text: str) -> Self:
        """What `pack` wrote."""
        ...


Part = TypeVar("Part", bound=Mergeable)


class Groups(Generic[Part]):
    """One part per name. It is exact, however many names there are.

    When there are more than `most` at hand, they are laid aside in a temporary database on disk, which goes when this
    does. Reading puts the pieces of each name together again.

    Args:
        kind: Makes the part of a name that is new.
        most: How many are held in memory.
    """

    def __init__(self, kind: type[Part], most: int = 20_000) -> None:
        self.most = most
        self._kind = kind
        self._near: dict[str, Part] = {}
        self._far: sqlite3.Connection | None = None

    def at(self, name: str) -> Part:
        """The part of a name that is to be added to now; do not keep it, and do not read it."""
        part = self._near.get(name)
        if part is None:
            if len(self._near) >= self.most:
                self._lay_aside()
            part = self._near[name] = self._kind()
        return part

    def items(self) -> Iterator[tuple[str, Part]]:
        """Every name with all of its part. Nothing may be added meanwhile."""
        if self._far is None:
            yield from self._near.items()
            return
        self._lay_aside()
        rows = self._far.execute("SELECT name, part FROM parts ORDER BY name, rowid")
        for key, pieces in groupby(rows, key=itemgetter(0)):
            yield _name(key), self._whole(piece for _, piece in pieces)

    def __getitem__(self, name: str) -> Part:
        """All of one name's part.

        Raises:
            KeyError: The name is not known.
        """
        if self._far is None:
            return self._near[name]
        self._lay_aside()
        pieces = self._far.execute("SELECT part FROM parts WHERE name = ? ORDER BY rowid", (_key(name),)).fetchall()
        if not pieces:
            raise KeyError(name)
        return self._whole(piece for (piece,) in pieces)

    def __len__(self) -> int:
        """How many names there are."""
        if self._far is None:
            return len(self._near)
        self._lay_aside()
        ((count,),) = self._far.execute("SELECT COUNT(DISTINCT name) FROM parts")
        return int(count)

    def greatest(self, size: int, key: Callable[[Part], Any]) -> list[tuple[str, Part]]:
        """The few greatest, the greatest first; among equals in the order of their names, or as they came."""
        top: Top[tuple[str, Part]] = Top(size, lambda item: key(item[1]))
        for item in self.items():
            top.add(item)
        return top.items()

    def _whole(self, pieces: Iterator[str]) -> Part:
        whole = self._kind.unpack(next(pieces))
        for piece in pieces:
            whole.merge(self._kind.unpack(piece))
        return whole

    def _lay_aside(self) -> None:
        if self._far is None:
            self._far = sqlite3.connect(
                "", check_same_thread=False
            )  # in a file without a name, which the system takes away
            self._far.execute("PRAGMA cache_size = -4096")
            self._far.execute("PRAGMA temp_store = FILE")
            self._far.execute("PRAGMA journal_mode = OFF")
            self._far.execute("CREATE TABLE parts (name BLOB, part TEXT)")
        rows = ((_key(name), part.pack()) for name, part in self._near.items())
        with self._far:
            self._far.executemany("INSERT INTO parts VALUES (?, ?)", rows)
        self._near.clear()

    def close(self) -> None:
        """Give the temporary database back; what was laid aside is gone."""
        if self._far is not None:
            self._far.close()
            self._far = None

    def __del__(self) -> None:
        self.close()


def _key(name: str) -> bytes:
    return name.encode("utf-8", "surrogatepass")


def _name(key: bytes) -> str:
    return key.decode("utf-8", "surrogatepass")
