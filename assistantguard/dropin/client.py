"""The same client again, with a service behind some of its paths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias, TypeVar

import openai

from assistantguard.dropin.transport import Desk, Watcher, view_of
from assistantguard.dropin.wire import Service
from assistantguard.errors import ConfigurationError

__all__ = ["InnerClient", "wrapped"]

InnerClient: TypeAlias = openai.OpenAI | openai.AsyncOpenAI
"""The client that the user gave, or of a subclass such as `openai.AzureOpenAI`."""

T = TypeVar("T", bound=openai.OpenAI | openai.AsyncOpenAI)

_LOST = ("_strict_response_validation", "_azure_endpoint", "_azure_deployment")
"""What `copy` of some releases of the SDK leaves behind."""


def wrapped(
    client: T, service_for: Callable[[InnerClient], Service], watcher: Callable[[], Watcher | None] = lambda: None
) -> T:
    """Return a client of the same class whose requests to some paths are answered by a service.

    It keeps the key, addresses, time limits, retries, headers and query of the client, and works through the same HTTP
    client: to close one closes both. Copies of it, as `with_options` makes them, reach the service too, except where
    they are given another base URL or HTTP client.

    Args:
        client: The user's own. It stays as it is, and goes on to send every request to its server.
        service_for: Makes the service, given the user's client.
        watcher: Makes what watches all other requests, once there is the service; None watches nothing.

    Raises:
        ConfigurationError: It is no client of the `openai` package, or cannot be copied.
    """
    if not isinstance(client, (openai.OpenAI, openai.AsyncOpenAI)):
        raise ConfigurationError(
            f"client={client!r:.80} is no client of the openai package; "
            "give an OpenAI, AsyncOpenAI, AzureOpenAI or AsyncAzureOpenAI"
        )
    desk = Desk.below(client.base_url, service_for(client))
    http_client = view_of(client._client, desk, watcher())  # noqa: SLF001 - the SDK shows it nowhere else
    try:
        copied: Any = client.copy(http_client=http_client)
    except TypeError as error:
        raise ConfigurationError(
            f"a {type(client).__name__} cannot be copied ({error}); "
            "let its constructor take what the openai client's takes, or give a plain client"
        ) from error
    for name in _LOST:
        if hasattr(client, name):
            setattr(copied, name, getattr(client, name))
    return copied  # type: ignore[no-any-return]  # the SDK's copy is of its own class
