"""`serve`: the sandbox for any program, until the process is interrupted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from assistantguard.sandbox.sandbox import Sandbox

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from assistantguard.sandbox.faults import Fault
    from assistantguard.sandbox.rate_limits import Limits
    from assistantguard.sandbox.responses import BackgroundMode, OnDisconnect
    from assistantguard.sandbox.script import Model, Script, Scripted

__all__ = ["serve"]


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8080,
    model: Sequence[Scripted] | Script | Model | None = None,
    faults: Sequence[Fault] = (),
    api_key: str | None = None,
    background: BackgroundMode = "supported",
    on_disconnect: OnDisconnect = "stop",
    limits: Limits | None = None,
    log_requests: int | None = 10_000,
    keep_responses: int | None = None,
    keep_calls: int | None = None,
    on_start: Callable[[str], None] | None = None,
) -> None:
    """Serve a sandbox until the process is interrupted. Prints nothing.

    Args:
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        model: See `Sandbox`.
        faults: See `Sandbox`.
        api_key: The key that requests must carry; None takes any.
        background: See `Sandbox`.
        on_disconnect: See `Sandbox`.
        limits: See `Sandbox`.
        log_requests: See `Sandbox`.
        keep_responses: See `Sandbox`.
        keep_calls: See `Sandbox`.
        on_start: Called with the base URL once requests are answered.

    Raises:
        ConfigurationError: A value cannot work, the port cannot be had, or the packages of the `sandbox` extra are not
            installed.
    """
    import threading

    with Sandbox(
        model,
        faults=faults,
        api_key=api_key,
        host=host,
        port=port,
        background=background,
        on_disconnect=on_disconnect,
        limits=limits,
        log_requests=log_requests,
        keep_responses=keep_responses,
        keep_calls=keep_calls,
    ) as sandbox:
        if on_start is not None:
            on_start(sandbox.base_url)
        threading.Event().wait()
