"""An assistant that only the server knows: asked for before the first turn, so that it can be counted and priced."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from assistantguard.engine.asking import Asking
from assistantguard.engine.steady import Steady
from assistantguard.errors import ConfigurationError
from assistantguard.models import Assistant, ThreadState

if TYPE_CHECKING:
    from assistantguard.backends.assistants import AssistantsBackend
    from assistantguard.engine import Driver, Session
    from assistantguard.tools import Toolbox

__all__ = ["DescribedAssistant"]


class DescribedAssistant:
    """Asks a server for its assistant, once.

    Args:
        session: What is completed by what the server tells.
        driver: The guard's driver.
        backend: The server.
        toolbox: The application's functions.
        given: What the application wants otherwise than the server's assistant has it, or None.
        answers_all: Whether the application overrides ``dispatch_tool``, so that it answers every tool.
    """

    def __init__(
        self,
        session: Session,
        driver: Driver,
        backend: AssistantsBackend,
        toolbox: Toolbox,
        given: Assistant | None,
        *,
        answers_all: bool,
    ) -> None:
        self._session = session
        self._steady = Steady(session, driver, backend, Asking(session, driver))
        self._backend = backend
        self._toolbox = toolbox
        self._given = given
        self._answers_all = answers_all
        self._done = False

    async def prepare(self) -> None:
        """Ask, where that was not done yet.

        Raises:
            ConfigurationError: The assistant has a function that nothing here runs, or a policy cannot work with its
                model.
            RunFailed: The server refused.
        """
        if self._done:
            return
        found = await self._steady.call(ThreadState("", created_at=0.0, last_used_at=0.0), self._backend.describe)
        session, given = self._session, self._given
        tools = self._toolbox.schemas if given is not None and given.tools else found.flat_tools
        if not self._answers_all:
            for tool in tools:
                if tool.get("type") == "function" and tool.get("name") not in self._toolbox.functions:
                    raise ConfigurationError(
                        f"the server's assistant has the function {tool.get('name')!r}, and nothing runs it: give the"
                        " Python function with tools=[…], or override dispatch_tool"
                    )
        if given is None:
            assistant = replace(session.assistant, model=found.model, instructions=found.instructions)
        else:
            assistant = replace(given, instructions=given.instructions or found.instructions)
        session.policies.check(assistant, session.prices)
        session.assistant, session.tools = assistant, tools
        session.tools_text = json.dumps(tools) if tools else ""
        self._done = True
