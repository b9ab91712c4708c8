"""The Assistants API's objects, as it sends them. All functions are pure: they return new dictionaries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from assistantguard.models.tools import ToolCall
from assistantguard.models.usage import Usage

Body = dict[str, Any]


def new_assistant(id: str, now: float, parameters: Mapping[str, Any]) -> Body: raise NotImplementedError
def changed_assistant(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body: raise NotImplementedError
def new_thread(id: str, now: float, parameters: Mapping[str, Any]) -> Body: raise NotImplementedError
def changed_thread(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body: raise NotImplementedError
def new_message(id: str, now: float, thread_id: str, parameters: Mapping[str, Any], *, assistant_id: str | None = None, run_id: str | None = None, status: str = "completed") -> Body: raise NotImplementedError
def changed_message(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body: raise NotImplementedError
def new_run(id: str, now: float, thread_id: str, assistant_body: Mapping[str, Any], parameters: Mapping[str, Any]) -> Body: raise NotImplementedError
def changed_run(body: Mapping[str, Any], changes: Mapping[str, Any]) -> Body: raise NotImplementedError
def run_ended(body: Mapping[str, Any], status: str, now: float, *, usage: Usage | None = None, error: tuple[str, str] | None = None, incomplete_reason: str | None = None) -> Body: raise NotImplementedError
def run_requires(body: Mapping[str, Any], calls: Sequence[ToolCall]) -> Body: raise NotImplementedError
def run_goes_on(body: Mapping[str, Any], now: float, status: str) -> Body: raise NotImplementedError
def message_step(id: str, now: float, run_body: Mapping[str, Any], message_id: str, *, status: str = "in_progress") -> Body: raise NotImplementedError
def tool_calls_step(id: str, now: float, run_body: Mapping[str, Any], calls: Sequence[Body], *, status: str = "in_progress") -> Body: raise NotImplementedError
def step_ended(body: Mapping[str, Any], status: str, now: float, *, usage: Usage | None = None, error: tuple[str, str] | None = None) -> Body: raise NotImplementedError
def function_call(call: ToolCall, output: str | None = None) -> Body: raise NotImplementedError
def usage_object(usage: Usage) -> Body: raise NotImplementedError
def deleted(kind: str, id: str) -> Body: raise NotImplementedError
def page(objects: Sequence[Mapping[str, Any]], has_more: bool) -> Body: raise NotImplementedError
