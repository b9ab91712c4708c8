"""The official OpenAPI document, where it lies beside the repository."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]  # its stubs are a package of their own
import pytest
from jsonschema.exceptions import best_match  # type: ignore[import-untyped]

__all__ = ["contract_is_here", "contract_problems", "official_contract", "schema_of_answer", "schema_of_request"]

_PLACE = Path(__file__).parents[2].parent / "shared" / "openapi" / "openai.json"


def contract_is_here() -> bool:
    """Whether the document lies beside the repository."""
    return _PLACE.exists()


def official_contract() -> dict[str, Any]:
    """The document, its unions relaxed. Skips the test where it is absent."""
    if not _PLACE.exists():
        pytest.skip(f"the official contract is not at {_PLACE}")
    return _read()


def contract_problems(schema: Mapping[str, Any] | str, document: Any) -> list[str]:
    """Where a document breaks a schema of the contract, or the one of this name."""
    official_contract()
    if isinstance(schema, str):
        schema = {"$ref": f"#/components/schemas/{schema}"}
    validator = _validator(json.dumps(schema))
    found = [best_match([error]) for error in validator.iter_errors(document)]
    return [f"at {list(best.absolute_path)}: {best.message[:300]}" for best in found]


def schema_of_answer(endpoint: str) -> dict[str, Any]:
    """The schema of the answer to an endpoint, such as ``GET /threads/{id}``, whatever the names of its ids.

    Raises:
        KeyError: The contract has no such endpoint.
    """
    return _json_schema(_operation(endpoint)["responses"]["200"])


def schema_of_request(endpoint: str) -> dict[str, Any]:
    """The schema of a request's body, named as for `schema_of_answer`.

    Raises:
        KeyError: The contract has no such endpoint, or it takes no JSON.
    """
    return _json_schema(_operation(endpoint)["requestBody"])


def _operation(endpoint: str) -> dict[str, Any]:
    method, path = endpoint.split(" ")
    for template, operations in official_contract()["paths"].items():
        if re.sub(r"\{\w+\}", "{id}", template) == path and method.lower() in operations:
            operation: dict[str, Any] = operations[method.lower()]
            return operation
    raise KeyError(endpoint)


def _json_schema(body: dict[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = body["content"]["application/json"]["schema"]
    return schema


@functools.lru_cache(maxsize=128)
def _validator(schema: str) -> Any:
    return jsonschema.Draft202012Validator({**json.loads(schema), "components": _read()["components"]})


@functools.cache
def _read() -> dict[str, Any]:
    relaxed: dict[str, Any] = _relaxed(json.loads(_PLACE.read_text(encoding="utf-8")))
    return relaxed


def _relaxed(node: Any) -> Any:
    """Unions as anyOf, `nullable` as a union with null: several official unions overlap."""
    if isinstance(node, list):
        return [_relaxed(one) for one in node]
    if not isinstance(node, dict):
        return node
    relaxed = {name: _relaxed(value) for name, value in node.items() if name not in {"discriminator", "nullable"}}
    if "oneOf" in relaxed:
        alternatives = relaxed.pop("oneOf")
        if "anyOf" in relaxed:
            alternatives = [*relaxed.pop("anyOf"), *alternatives]
        relaxed["anyOf"] = alternatives
    if node.get("nullable") is True:
        return {"anyOf": [relaxed, {"type": "null"}]}
    return relaxed
