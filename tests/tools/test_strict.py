from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
import pytest
from pydantic import BaseModel, ConfigDict, Field

from assistantguard.tools import FunctionTool


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """Where somebody lives."""

    model_config = ConfigDict(extra="forbid")

    street: str
    zip_code: str = Field(description="Five digits")


class Tree(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    children: list[Tree]
    above: Tree | None = Field(description="The tree above")


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


def strict_one(order_id: str, address: Address, limit: int | None, color: Color, kinds: list[Literal["a"]]) -> None:
    """Do it.

    Args:
        order_id: Which.
        address: Where to.
        limit: How many.
        color: In which colour.
        kinds: Of which kinds.
    """


def recursive(tree: Tree, other: Tree) -> None:
    """Do it.

    Args:
        tree: The tree.
        other: Another.
    """


def nothing() -> None:
    pass


@pytest.mark.parametrize("function", [strict_one, recursive, nothing])
def test_a_schema_that_strict_mode_takes_is_strict(function: Callable[..., Any]) -> None:
    built = FunctionTool(function)

    assert built.strict
    for schema in _objects(built.parameters):
        assert schema.get("required", []) == list(schema["properties"])
        assert schema["additionalProperties"] is False
    for schema in _everything_in(built.parameters):
        assert "title" not in schema
        assert "$ref" not in schema or len(schema) == 1


def _default(limit: int = 3) -> None: ...
def _loose_model(point: Point) -> None: ...
def _table(table: dict[str, int]) -> None: ...
def _anything(value: Any) -> None: ...
def _pair(pair: tuple[int, str]) -> None: ...
def _bare_list(values: list) -> None: ...  # type: ignore[type-arg]
def _length(text: Annotated[str, Field(min_length=3)]) -> None: ...
def _lookahead(text: Annotated[str, Field(json_schema_extra={"pattern": "^(?!a)"})]) -> None: ...
def _binary(data: Annotated[bytes, Field(json_schema_extra={"format": "binary"})]) -> None: ...
def _either(value: Annotated[Address | Tree, Field(json_schema_extra={"oneOf": []})]) -> None: ...


@pytest.mark.parametrize(
    "function",
    [_default, _loose_model, _table, _anything, _pair, _bare_list, _length, _lookahead, _binary, _either],
)
def test_a_schema_that_strict_mode_refuses_is_not_strict(function: Callable[..., Any]) -> None:
    schema = FunctionTool(function).schema

    assert schema["strict"] is False


def test_objects_nested_too_deep_are_not_strict() -> None:
    model: type[BaseModel] = Address
    for depth in range(6):
        model = pydantic.create_model(f"Level{depth}", __config__=ConfigDict(extra="forbid"), inner=(model, ...))

    def find(value: Any) -> None: ...

    find.__annotations__["value"] = model

    assert not FunctionTool(find).strict


def _everything_in(schema: Any) -> list[dict[str, Any]]:
    found = [schema]
    for key in ("properties", "$defs"):
        for each in schema.get(key, {}).values():
            found += _everything_in(each)
    for each in [*schema.get("anyOf", []), *([schema["items"]] if "items" in schema else [])]:
        found += _everything_in(each)
    return found


def _objects(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for each in _everything_in(schema) if each.get("type") == "object"]
