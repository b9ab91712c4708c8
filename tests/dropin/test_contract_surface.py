"""That the contract tests drive all of ``client.beta.assistants`` and ``client.beta.threads`` that the SDK has."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.dropin.wire_checks import WireChecks

HERE = Path(__file__).parent
_OTHER_FACES = ("with_raw_response", "with_streaming_response")
"""The same methods once more."""


@pytest.mark.parametrize("kind", [openai.OpenAI, openai.AsyncOpenAI])
def test_every_method_of_the_sdk_is_driven_by_a_contract_test(kind: Any) -> None:
    client = kind(api_key="k", base_url="http://127.0.0.1:1")
    methods = {
        f"{name}.{method}" for name in ("assistants", "threads") for method in _methods(getattr(client.beta, name))
    }

    assert methods - _driven() == set(), "write a test of them, and say so with @drives"
    assert _driven() - methods == set(), "the installed SDK does not have them"
    assert len(methods) > 30


def _driven() -> set[str]:
    """The methods that some test says it drives; the fixture `app` fails one that does not."""
    modules = [importlib.import_module(f"tests.dropin.{path.stem}") for path in HERE.glob("test_contract_*.py")]
    return {
        method
        for module in modules
        for test in vars(module).values()
        if inspect.isfunction(test) and "app" in inspect.signature(test).parameters
        for method in getattr(test, "drives", ())
    }


def _methods(resource: Any) -> Iterator[str]:
    """The public methods of a resource and of those below it, by their paths."""
    for name in dir(type(resource)):
        if name.startswith("_") or name in _OTHER_FACES:
            continue
        found = inspect.getattr_static(type(resource), name)
        if isinstance(found, (property, cached_property)):
            yield from (f"{name}.{method}" for method in _methods(getattr(resource, name)))
        elif callable(found):
            yield name


def test_an_answer_that_breaks_the_contract_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    checks = WireChecks(monkeypatch)
    thread = {"id": "thread_1", "object": "thread", "created_at": 1, "metadata": {}, "tool_resources": {}}
    checks.answers = [("POST /threads", 200, thread), ("GET /threads/{id}", 200, {**thread, "created_at": "now"})]

    assert checks.problems()
    checks.answers.pop()
    assert checks.problems() == []
    checks.streams = [("POST /threads/{id}/runs", [("thread.created", {**thread, "id": 7})], False)]
    assert checks.problems()
