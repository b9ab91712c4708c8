"""What all data classes of the package share: equality, hash and text, written once.

``@dataclass`` would generate and compile them anew for each class, which is most of what importing a data class costs.
Those here do the same, field by field: ``compare``, ``hash`` and ``repr`` of ``dataclasses.field`` hold for them too.
"""

from __future__ import annotations

import reprlib
from dataclasses import Field, fields
from typing import Any, ClassVar

__all__ = ["Record", "Value"]


class Record:  # noqa: PLW1641  what may change is not hashable
    """Base of data classes that change: equal where class and fields are, not hashable.

    Decorate a subclass with ``@dataclass(slots=True, eq=False, repr=False)``.
    """

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Record) or other.__class__ is not self.__class__:
            return NotImplemented
        names = [field.name for field in fields(self) if field.compare]
        return tuple(getattr(self, name) for name in names) == tuple(getattr(other, name) for name in names)

    @reprlib.recursive_repr()
    def __repr__(self) -> str:
        shown = ", ".join(f"{field.name}={getattr(self, field.name)!r}" for field in fields(self) if field.repr)
        return f"{self.__class__.__qualname__}({shown})"


class Value(Record):
    """Base of data classes that are frozen, and hashable where their fields are.

    Decorate a subclass with ``@dataclass(frozen=True, slots=True, eq=False, repr=False)``.
    """

    __slots__ = ()

    def __hash__(self) -> int:
        return hash(
            tuple(
                getattr(self, field.name)
                for field in fields(self)
                if (field.compare if field.hash is None else field.hash)
            )
        )
