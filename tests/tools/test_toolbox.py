from __future__ import annotations

import json
from typing import Any

import pytest

from assistantguard import tools
from assistantguard.errors import ConfigurationError
from assistantguard.tools import FunctionTool, Toolbox, tool

_PARAMETERS = {"type": "object", "properties": {"q": {"type": "string"}}, "required": ["q"]}


def lookup(order_id: str) -> str:
    """Look an order up."""
    return order_id


@tool(timeout=3)
async def fetch(order_id: str) -> str:
    return order_id


def test_functions_schemas_and_built_in_tools_stand_in_the_order_given() -> None:
    box = Toolbox(
        [
            lookup,
            {"type": "web_search"},
            {"type": "function", "name": "ask", "parameters": _PARAMETERS, "strict": True},
            FunctionTool(fetch, name="get"),
            {"type": "file_search", "vector_store_ids": ["vs_1"]},
        ]
    )

    assert [schema.get("name", schema["type"]) for schema in box.schemas] == [
        "lookup",
        "web_search",
        "ask",
        "get",
        "file_search",
    ]
    assert list(box.functions) == ["lookup", "get"]
    assert box.names == ("lookup", "ask", "get")
    assert box.schema_only == ("ask",)
    assert json.loads(json.dumps(box.schemas)) == box.schemas


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"type": "function", "name": "ask", "description": "Ask.", "parameters": _PARAMETERS, "strict": True},
            {"type": "function", "name": "ask", "description": "Ask.", "parameters": _PARAMETERS, "strict": True},
        ),
        (
            {"type": "function", "function": {"name": "ask", "description": "Ask.", "parameters": _PARAMETERS}},
            {"type": "function", "name": "ask", "description": "Ask.", "parameters": _PARAMETERS, "strict": False},
        ),
        (
            {"type": "function", "function": {"name": "ask", "strict": True, "parameters": _PARAMETERS}},
            {"type": "function", "name": "ask", "strict": True, "parameters": _PARAMETERS},
        ),
        (
            {"type": "function", "name": "ask"},
            {
                "type": "function",
                "name": "ask",
                "parameters": {"type": "object", "properties": {}},
                "strict": False,
            },
        ),
        (
            {"type": "code_interpreter", "container": {"type": "auto"}},
            {"type": "code_interpreter", "container": {"type": "auto"}},
        ),
    ],
)
def test_dictionaries_come_into_the_shape_of_the_responses_api(given: dict[str, Any], expected: dict[str, Any]) -> None:
    before = json.dumps(given)

    assert Toolbox([given]).schemas == [expected]
    assert before == json.dumps(given)


def test_a_schema_given_is_copied() -> None:
    given = {"type": "function", "name": "ask", "parameters": {"type": "object", "properties": {}}}
    box = Toolbox([given])
    given["parameters"]["properties"]["late"] = {}  # type: ignore[index]

    assert box.schemas[0]["parameters"]["properties"] == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([lookup, FunctionTool(fetch, name="lookup")], "two tools are named 'lookup': rename one"),
        ([lookup, {"type": "function", "name": "lookup"}], "two tools are named 'lookup'"),
        ([{"name": "ask"}], "has no type: write"),
        ([{"type": "function"}], r"is None: the API takes 1 to 64 letters"),
        ([{"type": "function", "function": "ask"}], "has no schema under 'function'"),
        ([{"type": "function", "function": {"name": "two words"}}], "is 'two words': the API takes"),
        (["lookup"], "'lookup' cannot be called"),
    ],
)
def test_tools_that_cannot_work_are_refused_with_the_mend(given: list[Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Toolbox(given)


def test_asynchrony_and_time_limits_are_told_by_name() -> None:
    box = Toolbox([lookup, fetch, {"type": "function", "name": "ask"}])

    assert [box.is_async(name) for name in ("lookup", "fetch", "ask", "nobody")] == [False, True, False, False]
    assert [box.timeout(name) for name in ("lookup", "fetch", "ask", "nobody")] == [None, 3.0, None, None]


def test_an_output_bound_that_leaves_no_room_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="max_tool_output_characters is 10, the least is 200"):
        Toolbox(max_tool_output_characters=10)


def test_an_empty_toolbox_has_no_schemas() -> None:
    assert Toolbox().schemas == []


def test_the_package_exports_what_it_names() -> None:
    assert tools.__all__ == sorted(tools.__all__, key=lambda name: (name[0].islower(), name))
    assert all(hasattr(tools, name) for name in tools.__all__)
