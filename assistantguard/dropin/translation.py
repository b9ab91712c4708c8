"""From the Assistants API's objects to the Responses API's."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from assistantguard.models.assistant import Assistant


def assistant_for(run_body: Mapping[str, Any], assistant_body: Mapping[str, Any], thread_body: Mapping[str, Any]) -> Assistant: raise NotImplementedError
def input_item(message_body: Mapping[str, Any]) -> dict[str, Any]: raise NotImplementedError
def text_content(text: str, annotations: Iterable[Any] = ()) -> list[dict[str, Any]]: raise NotImplementedError
def code_interpreter_files(thread_body: Mapping[str, Any], messages: Iterable[Mapping[str, Any]] = ()) -> list[str]: raise NotImplementedError
