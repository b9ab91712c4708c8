"""Equality, hash and text that data classes share, against those that ``dataclass`` generates."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from assistantguard.models.values import Record, Value


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Shared(Value):
    a: int
    b: object = None
    c: int = field(default=0, hash=False)
    d: int = field(default=0, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Generated:
    a: int
    b: object = None
    c: int = field(default=0, hash=False)
    d: int = field(default=0, repr=False, compare=False)


@dataclass(slots=True, eq=False, repr=False)
class Changing(Record):
    a: object


ROWS = [(1,), (2,), (1, "x"), (1, None, 3), (1, None, 0, 4), (1, ("x", 2.5), 3, 4)]


@pytest.mark.parametrize("row", ROWS)
def test_text_and_hash_are_those_that_dataclass_generates(row: tuple[int, ...]) -> None:
    shared, generated = Shared(*row), Generated(*row)
    assert repr(shared).replace("Shared", "Generated") == repr(generated)
    assert hash(shared) == hash(generated)


@pytest.mark.parametrize("one", ROWS)
@pytest.mark.parametrize("other", ROWS)
def test_equality_is_that_which_dataclass_generates(one: tuple[int, ...], other: tuple[int, ...]) -> None:
    assert (Shared(*one) == Shared(*other)) is (Generated(*one) == Generated(*other))


def test_other_classes_are_never_equal_and_what_changes_has_no_hash() -> None:
    assert Shared(1) != Changing(1)
    assert Shared(1) != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(Changing(1))


def test_an_object_that_holds_itself_has_a_text() -> None:
    changing = Changing(None)
    changing.a = changing
    assert repr(changing) == "Changing(a=...)"
