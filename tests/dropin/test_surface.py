from __future__ import annotations

import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

from assistantguard.dropin.page import differences, markdown
from assistantguard.dropin.surface import (
    DIFFERENT,
    FIELDS,
    METHODS,
    NAMESPACES,
    NOT_SERVED,
    OTHER_NAMESPACES,
    PARAMETERS,
    SERVED,
    worst,
)

PAGE = Path(__file__).parents[2] / "docs" / "assistants.md"
CLIENTS = {"blocking": openai.OpenAI, "asynchronous": openai.AsyncOpenAI}
OF_OLDER_SDKS = {row.name for row in METHODS if row.name.endswith(".*")}
ROWS = (*METHODS, *PARAMETERS, *FIELDS)


def public(resource: Any) -> Iterator[tuple[str, Any]]:
    """The resources and methods of a part of a client, by name."""
    for name in dir(type(resource)):
        if not name.startswith(("_", "with_")):
            yield name, getattr(resource, name)


def methods(resource: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Every public method below a part of a client, by its dotted name."""
    for name, value in public(resource):
        dotted = f"{path}.{name}"
        if inspect.isroutine(value):
            yield dotted, value
        else:
            yield from methods(value, dotted)


@pytest.fixture(params=CLIENTS)
def beta(request: pytest.FixtureRequest) -> Any:
    return CLIENTS[request.param](api_key="sk-x").beta


@pytest.fixture
def official(beta: Any) -> dict[str, Any]:
    """The installed SDK's methods of the old API."""
    return {name: method for part in ("assistants", "threads") for name, method in methods(getattr(beta, part), part)}


def test_every_public_method_of_the_sdk_has_one_row_and_every_row_a_method(official: dict[str, Any]) -> None:
    names = [row.name for row in METHODS]
    assert len(names) == len(set(names))
    assert set(official) == set(names) - OF_OLDER_SDKS


def test_what_else_is_below_beta_is_known_not_to_be_the_old_api(beta: Any) -> None:
    assert {name for name, _ in public(beta)} <= {*NAMESPACES, *OTHER_NAMESPACES}


def test_every_parameter_that_differs_is_one_that_the_methods_take(official: dict[str, Any]) -> None:
    for row in PARAMETERS:
        assert set(row.methods) <= set(official), row.name
        if row.name != "file_ids":  # of a version that no supported SDK speaks
            for name in row.methods:
                assert row.name in inspect.signature(official[name]).parameters, (row.name, name)


def test_a_row_says_what_differs_exactly_where_something_does() -> None:
    for row in ROWS:
        assert bool(row.note) == (row.verdict != SERVED), row.name
        assert "\n" not in row.note
        if row.note:
            assert row.note.endswith("."), row.name


def test_the_worst_verdict_is_the_one_that_serves_the_least() -> None:
    assert worst([]) == worst([None, SERVED]) == SERVED
    assert worst([SERVED, DIFFERENT, None]) == DIFFERENT
    assert worst([NOT_SERVED, DIFFERENT, SERVED]) == NOT_SERVED


def printed(*arguments: str) -> str:
    command = [sys.executable, "-W", "error", "-m", "assistantguard.dropin", *arguments]
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True).stdout


def test_the_page_is_what_the_code_prints() -> None:
    assert PAGE.read_text(encoding="utf-8") == printed(), (
        "print it: python -m assistantguard.dropin > docs/assistants.md"
    )
    assert printed("differences") == differences()


def cells(text: str) -> list[list[str]]:
    """The cells of the tables' rows, without their heads."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    rules = [number for number, row in enumerate(rows) if set(row) == {"---"}]
    return [row for number, row in enumerate(rows) if number not in rules and number + 1 not in rules]


def test_the_page_has_a_line_for_each_row_and_the_readmes_table_for_each_that_differs() -> None:
    on_page = [(row[-2], row[-1]) for row in cells(markdown())]
    in_readme = [(row[-2], row[-1]) for row in cells(differences())]
    assert len(on_page) == len(ROWS) + 1  # and the addresses
    for row in ROWS:
        assert (row.verdict, row.note) in on_page
        assert ((row.verdict, row.note) in in_readme) == (row.verdict != SERVED)
