from __future__ import annotations

import dataclasses
import enum
import functools
import inspect
import subprocess
import sys
from collections.abc import Callable
from datetime import date, datetime, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional
from uuid import UUID

import jsonschema  # type: ignore[import-untyped]
import pydantic
import pytest
from openai.types.responses import FunctionToolParam
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import NotRequired, TypedDict

from assistantguard.errors import ConfigurationError
from assistantguard.tools import FunctionTool, tool

if TYPE_CHECKING:
    from somewhere_else import OnlyForCheckers  # type: ignore[import-not-found]


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Address(BaseModel):
    """Where somebody lives."""

    model_config = ConfigDict(extra="forbid")

    street: str
    zip_code: str = Field(description="Five digits")


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Shape(TypedDict):
    corners: list[Point]
    label: NotRequired[str]


class Database:
    def lookup(self, order_id: str) -> str:
        """Look an order up."""
        return f"order {order_id}"

    @tool(name="renamed", timeout=3)
    def marked(self, order_id: str) -> str:
        return order_id

    async def find(self, order_id: str) -> str:
        return order_id

    def __call__(self, query: str) -> str:
        """Ask anything."""
        return query


def lookup(order_id: str, *, verbose: bool = False) -> str:
    """Look up an order.

    It must have been placed this year.

    Args:
        order_id: The order's id,
            as on the invoice.
        verbose: Whether to tell all.

    Returns:
        The order.
    """
    return f"{order_id} {verbose}"


async def fetch(order_id: str) -> str:
    return order_id


def test_a_function_becomes_the_schema_that_the_responses_api_takes() -> None:
    expected = {
        "type": "function",
        "name": "lookup",
        "description": "Look up an order.\n\nIt must have been placed this year.",
        "parameters": {
            "type": "object",
            "properties": {
                "order_id": {"type": "string", "description": "The order's id,\nas on the invoice."},
                "verbose": {"type": "boolean", "description": "Whether to tell all.", "default": False},
            },
            "required": ["order_id"],
            "additionalProperties": False,
        },
        "strict": False,
    }

    assert expected == FunctionTool(lookup).schema


def _google(order_id: str) -> None:
    """Do it.

    Args:
        order_id: Which one.
    """


def _numpy(order_id: str) -> None:
    """Do it.

    Parameters
    ----------
    order_id : str
        Which one.
    """


def _sphinx(order_id: str) -> None:
    """Do it.

    :param order_id: Which one.
    """


@pytest.mark.parametrize("function", [_google, _numpy, _sphinx])
def test_docstrings_of_every_style_describe_the_parameters(function: Callable[..., Any]) -> None:
    built = FunctionTool(function)

    assert built.description == "Do it."
    assert built.parameters["properties"]["order_id"]["description"] == "Which one."


def test_an_annotated_description_goes_before_the_docstrings() -> None:
    def find(order_id: Annotated[str, Field(description="From the annotation", pattern="^W")]) -> None:
        """Find it.

        Args:
            order_id: From the docstring.
        """

    found = FunctionTool(find).parameters["properties"]["order_id"]

    assert found == {"type": "string", "description": "From the annotation", "pattern": "^W"}


def test_a_function_without_a_docstring_has_no_description() -> None:
    assert "description" not in FunctionTool(fetch).schema


def everything(
    color: Color,
    address: Address,
    point: Point,
    shape: Shape,
    tags: list[str],
    pair: tuple[int, str],
    kind: Literal["a", "b"],
    when: datetime,
    day: date,
    amount: Decimal,
    number: Annotated[int, Field(ge=1)],
    ratio: float,
    key: UUID,
    table: dict[str, int],
    anything: Any,
    maybe: int | None,
    old_maybe: Optional[str],  # noqa: UP045  both ways of writing it
    either: int | str,
) -> None:
    pass


_JSON = {
    "color": "red",
    "address": {"street": "Main", "zip_code": "12345"},
    "point": {"x": "3"},
    "shape": {"corners": [{"x": 1, "y": 2}]},
    "tags": ["new"],
    "pair": [1, "one"],
    "kind": "b",
    "when": "2026-11-22T10:00:00Z",
    "day": "2026-11-22",
    "amount": "19.90",
    "number": "7",
    "ratio": 0.5,
    "key": "12345678-1234-5678-1234-567812345678",
    "table": {"a": 1},
    "anything": [1, {"two": None}],
    "maybe": None,
    "old_maybe": "x",
    "either": "3",
}


def test_arguments_become_what_the_annotations_say() -> None:
    expected = {
        **_JSON,
        "color": Color.RED,
        "address": Address(street="Main", zip_code="12345"),
        "point": Point(3, 0),
        "shape": {"corners": [Point(1, 2)]},
        "pair": (1, "one"),
        "when": datetime(2026, 11, 22, 10, tzinfo=timezone.utc),
        "day": date(2026, 11, 22),
        "amount": Decimal("19.90"),
        "number": 7,
        "key": UUID("12345678-1234-5678-1234-567812345678"),
    }

    assert expected == FunctionTool(everything).validate(_JSON)


@pytest.mark.parametrize("function", [lookup, fetch, everything, Database().lookup])
def test_schemas_are_valid_json_schema_and_fit_the_sdks_own_type(function: Callable[..., Any]) -> None:
    schema = FunctionTool(function).schema

    jsonschema.Draft202012Validator.check_schema(schema["parameters"])
    assert pydantic.TypeAdapter(FunctionToolParam).validate_python(schema, strict=True) == schema


def test_the_schema_takes_what_the_function_takes() -> None:
    validator = jsonschema.Draft202012Validator(FunctionTool(everything).parameters)
    typed = {**_JSON, "point": {"x": 3}, "number": 7}

    assert list(validator.iter_errors(typed)) == []
    assert [error.path[0] for error in validator.iter_errors({**typed, "kind": "c"})] == ["kind"]


def test_defaults_are_the_functions_own() -> None:
    marker = object()

    def find(order_id: str, limit: int = 3, extra: Any = marker, color: Color = Color.BLUE) -> tuple[Any, ...]:
        return order_id, limit, extra, color

    built = FunctionTool(find)
    arguments = built.validate({"order_id": "W1"})
    properties = built.parameters["properties"]

    assert arguments == {"order_id": "W1"}
    assert built(**arguments) == ("W1", 3, marker, Color.BLUE)
    assert (properties["limit"]["default"], properties["color"]["default"]) == (3, "blue")
    assert "default" not in properties["extra"]


def test_a_default_of_none_lets_the_model_give_null() -> None:
    def find(note: str = None) -> None:  # type: ignore[assignment]  # noqa: RUF013
        pass

    built = FunctionTool(find)

    assert built.validate({"note": None}) == {"note": None}
    assert {"type": "null"} in built.parameters["properties"]["note"]["anyOf"]


def test_a_number_is_taken_where_text_is_asked_for() -> None:
    assert FunctionTool(fetch).validate({"order_id": 42}) == {"order_id": "42"}


def test_a_parameter_may_have_any_name() -> None:
    def find(self_: int, model_config: str, json: str, schema: str, _private: int, copy: bool) -> None:
        pass

    arguments = {"self_": 1, "model_config": "a", "json": "b", "schema": "c", "_private": 2, "copy": True}

    assert FunctionTool(find).validate(arguments) == arguments


@pytest.mark.parametrize(
    ("function", "name", "is_async"),
    [
        (lookup, "lookup", False),
        (fetch, "fetch", True),
        (Database().lookup, "lookup", False),
        (Database().find, "find", True),
        (Database(), "Database", False),
        (functools.partial(fetch), "fetch", True),
        (functools.partial(Database().lookup), "lookup", False),
    ],
)
def test_every_kind_of_callable_works(function: Callable[..., Any], name: str, is_async: bool) -> None:
    built = FunctionTool(function)

    assert (built.name, built.is_async) == (name, is_async)
    assert "self" not in built.parameters["properties"]


def test_a_callable_object_is_described_by_its_call() -> None:
    built = FunctionTool(Database())

    assert built.description == "Ask anything."
    assert built("why") == "why"


def test_what_a_partial_has_bound_is_not_the_models_to_give() -> None:
    def find(database: Database, customer: str, order_id: str) -> str:
        return database.lookup(customer + order_id)

    built = FunctionTool(functools.partial(find, Database(), customer="me"))

    assert list(built.parameters["properties"]) == ["order_id"]
    assert built(**built.validate({"order_id": "1"})) == "order me1"
    with pytest.raises(pydantic.ValidationError):
        built.validate({"order_id": "1", "customer": "you"})


def test_a_wrapped_function_keeps_its_signature() -> None:
    @functools.wraps(lookup)
    def wrapper(*args: Any, **kwargs: Any) -> str:
        return lookup(*args, **kwargs).upper()

    built = FunctionTool(wrapper)

    assert built.schema == FunctionTool(lookup).schema
    assert built(order_id="w") == "W FALSE"


def test_what_a_function_returns_need_not_be_resolvable() -> None:
    def find(order_id: str) -> OnlyForCheckers:
        return order_id

    assert FunctionTool(find).name == "find"


def test_the_decorator_overrides_and_leaves_the_function_as_it_is() -> None:
    @tool(name="look-up", description="Better words.", timeout=2)
    def find(order_id: str) -> str:
        """Worse words."""
        return order_id

    built = FunctionTool(find)

    assert inspect.isfunction(find)
    assert find("W1") == "W1"
    assert (built.name, built.description, built.timeout) == ("look-up", "Better words.", 2.0)


def test_the_decorator_works_bare_on_methods_and_under_a_partial() -> None:
    @tool
    def find(order_id: str) -> str:
        return order_id

    assert FunctionTool(find).name == "find"
    assert FunctionTool(Database().marked).name == "renamed"
    assert FunctionTool(functools.partial(Database().marked)).timeout == 3.0


def test_arguments_of_the_tool_go_before_the_decorators() -> None:
    built = FunctionTool(Database().marked, name="again", description="", timeout=9)

    assert (built.name, built.description, built.timeout) == ("again", "", 9.0)
    assert "description" not in built.schema


def _unannotated(order_id) -> None: ...  # type: ignore[no-untyped-def]
def _many(*orders: str) -> None: ...
def _keywords(**orders: str) -> None: ...
def _positional(order_id: str, /) -> None: ...
def _database(database: Database, order_id: str) -> None: ...
def _callback(callback: Callable[[], int]) -> None: ...
def _unresolved(order: OnlyForCheckers) -> None: ...
def _field_default(limit: int = Field(3)) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (_unannotated, r"'order_id' of the tool '_unannotated' has no annotation.*order_id: str"),
        (Database.lookup, r"'self' of the tool 'lookup' has no annotation.*pass the bound method"),
        (_many, r"'orders' of the tool '_many' takes any number of arguments: name each one"),
        (_keywords, r"'orders' of the tool '_keywords' takes any number of arguments"),
        (_positional, r"'order_id' of the tool '_positional' is positional-only.*remove the '/'"),
        (_database, r"'database' of the tool '_database' is annotated Database, which cannot come as JSON.*partial"),
        (_callback, r"'callback' of the tool '_callback' is annotated .*cannot come as JSON"),
        (_unresolved, r"tool '_unresolved' has an annotation .*'OnlyForCheckers' is not defined.*TYPE_CHECKING"),
        (_field_default, r"'limit' of the tool '_field_default' has a Field\(…\) as its default"),
        (lambda: None, r"is '<lambda>': the API takes 1 to 64 letters"),
        (Address, r"'Address' is a class: pass a function"),
        (len, r"'obj' of the tool 'len'"),
        ({"a": 1}.get, r"'get'"),
        (object(), r"cannot be called: pass a function"),
        ("lookup", r"'lookup' cannot be called"),
    ],
)
def test_a_function_that_cannot_be_a_tool_is_refused_with_the_mend(function: Any, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        FunctionTool(function)


@pytest.mark.parametrize("timeout", [0, -1, True, float("nan"), float("inf"), "3"])
def test_a_timeout_that_is_no_time_is_refused(timeout: Any) -> None:
    with pytest.raises(ConfigurationError, match="must be seconds above 0"):
        FunctionTool(lookup, timeout=timeout)


@pytest.mark.parametrize("name", ["look up", "", "é", "a" * 65, 3])
def test_a_name_that_the_api_refuses_is_refused(name: Any) -> None:
    with pytest.raises(ConfigurationError, match="the API takes 1 to 64 letters"):
        FunctionTool(tool(name=name or "?")(lambda: None))


def test_importing_the_module_does_not_load_the_docstring_parser() -> None:
    code = "import sys, assistantguard.tools; print('docstring_parser' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
