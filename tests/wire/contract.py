"""Whether a request keeps the contract: the official SDK's own parameter types, and OpenAI's OpenAPI document.

`check_request` takes any request, `check_requests` a sandbox's whole record. The parameter types are made strict first:
an unknown key anywhere, a wrong literal or a number for a text fails. The OpenAPI document is not part of the
repository; where it is absent, the types alone decide.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from pydantic import TypeAdapter
from pydantic_core import SchemaValidator, ValidationError

from tests.support.contract import contract_is_here, contract_problems, schema_of_request

__all__ = ["RequestLike", "check_against_openapi", "check_request", "check_requests", "endpoint_of"]

_BODIES = {
    "POST /responses": "responses.response_create_params.ResponseCreateParamsNonStreaming",
    "POST /responses/input_tokens": "responses.input_token_count_params.InputTokenCountParams",
    "POST /conversations": "conversations.conversation_create_params.ConversationCreateParams",
    "POST /conversations/{id}": "conversations.conversation_update_params.ConversationUpdateParams",
    "POST /conversations/{id}/items": "conversations.item_create_params.ItemCreateParams",
    "POST /vector_stores": "vector_store_create_params.VectorStoreCreateParams",
    "POST /vector_stores/{id}": "vector_store_update_params.VectorStoreUpdateParams",
    "POST /vector_stores/{id}/files": "vector_stores.file_create_params.FileCreateParams",
    "POST /vector_stores/{id}/file_batches": "vector_stores.file_batch_create_params.FileBatchCreateParams",
}
_STREAMED = {"POST /responses": "responses.response_create_params.ResponseCreateParamsStreaming"}
"""The same where the body asks for a stream."""
_QUERIES = {
    "GET /responses/{id}": "responses.response_retrieve_params.ResponseRetrieveParamsBase",
    "GET /conversations/{id}/items": "conversations.item_list_params.ItemListParams",
    "GET /vector_stores": "vector_store_list_params.VectorStoreListParams",
    "GET /vector_stores/{id}/files": "vector_stores.file_list_params.FileListParams",
}
_WITHOUT_EITHER = {
    "POST /responses/{id}/cancel",
    "GET /conversations/{id}",
    "DELETE /conversations/{id}",
    "DELETE /conversations/{id}/items/{id}",
    "GET /vector_stores/{id}",
    "DELETE /vector_stores/{id}",
    "POST /files",
}
"""Also uploads: their body is no JSON."""
_COLLECTIONS = (
    "responses",
    "conversations",
    "items",
    "vector_stores",
    "files",
    "file_batches",
    "input_tokens",
    "cancel",
)


class RequestLike(Protocol):
    """What the sandbox records of a request, and what the tests of the wire see."""

    @property
    def method(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def query(self) -> Mapping[str, str]: ...
    @property
    def body(self) -> Any: ...


def endpoint_of(method: str, path: str) -> str:
    """Method and path without its version and ids: ``POST /conversations/{id}/items``."""
    parts = path.split("/v1/", 1)[-1].strip("/").split("/")
    return f"{method} /" + "/".join(part if part in _COLLECTIONS else "{id}" for part in parts)


def check_requests(requests: Iterable[RequestLike]) -> None:
    """Check every request of a record.

    Raises:
        AssertionError: One does not keep the contract.
    """
    for request in requests:
        check_request(request)


def check_request(request: RequestLike) -> None:
    """Check one request's body and query against the SDK's types, and against the OpenAPI document where it is.

    Raises:
        AssertionError: It does not keep the contract, or the endpoint is not known here.
    """
    endpoint = endpoint_of(request.method, request.path)
    known = endpoint in _BODIES or endpoint in _QUERIES or endpoint in _WITHOUT_EITHER
    assert known, f"{endpoint} has no parameter type in tests/wire/contract.py: name it there"
    if endpoint not in _QUERIES:
        assert not request.query, f"{endpoint} takes no query, got {request.query}"
    elif (validator := _validator(_QUERIES[endpoint])) is not None:
        query = {name: value for name, value in request.query.items() if name != "stream"}
        _validate(validator, query, endpoint, strict=False)
    if endpoint not in _BODIES:
        assert request.body is None or endpoint == "POST /files", f"{endpoint} takes no body, got {request.body}"
        return
    bodies = _STREAMED if endpoint in _STREAMED and request.body.get("stream") else _BODIES
    if (validator := _validator(bodies[endpoint])) is not None:
        _validate(validator, request.body, endpoint, strict=True)
    if contract_is_here():
        check_against_openapi(endpoint, request.body)


def check_against_openapi(endpoint: str, body: Any) -> None:
    """Check a body against the official document.

    Raises:
        AssertionError: It does not keep the contract.
    """
    problems = contract_problems(schema_of_request(endpoint), body)
    assert not problems, f"{endpoint}: {problems}"


def _validate(validator: SchemaValidator, value: Any, endpoint: str, *, strict: bool) -> None:
    try:
        validator.validate_python(value, strict=strict)
    except ValidationError as error:
        raise AssertionError(f"{endpoint} does not fit the SDK's parameters: {error}\n{value}") from error


@functools.cache
def _validator(name: str) -> SchemaValidator | None:
    """The type of that name, made strict; None where this SDK does not have it."""
    module_name, _, class_name = name.rpartition(".")
    try:
        module = importlib.import_module(f"openai.types.{module_name}")
    except ModuleNotFoundError:
        return None
    return SchemaValidator(_strict(TypeAdapter(getattr(module, class_name)).core_schema))


def _strict(node: Any) -> Any:
    """A core schema in which no dictionary takes unknown keys, and in which iterables are looked into at once."""
    if isinstance(node, (list, tuple)):
        return type(node)(_strict(one) for one in node)
    if not isinstance(node, dict):
        return node
    strict = {name: _strict(value) for name, value in node.items()}
    if strict.get("type") == "typed-dict":
        strict["extra_behavior"] = "forbid"
    elif strict.get("type") == "generator":
        strict["type"] = "list"
    return strict
