"""`Sandbox`: a local, honest stand-in for OpenAI's API."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING, Any, TypeVar

import openai

from assistantguard.errors import ConfigurationError
from assistantguard.sandbox.batches import BatchProcessing
from assistantguard.sandbox.billing import Billing
from assistantguard.sandbox.script import Script, echo
from assistantguard.sandbox.state import State
from assistantguard.sandbox.stores import Embedding

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from types import TracebackType

    from typing_extensions import Self

    from assistantguard.sandbox.app import Application
    from assistantguard.sandbox.faults import Fault
    from assistantguard.sandbox.rate_limits import Limits, RateLimiting
    from assistantguard.sandbox.request_log import RecordedRequest
    from assistantguard.sandbox.responses import BackgroundMode, OnDisconnect
    from assistantguard.sandbox.script import Model, Scripted
    from assistantguard.sandbox.server import BackgroundServer

__all__ = ["Sandbox"]

T = TypeVar("T")

DEFAULT_KEY = "sk-sandbox-key"
_PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}
"""Plain HTTP on loopback: no proxy from the environment, and no certificates to load (30 ms a client)."""


class Sandbox:
    """OpenAI's Responses, Conversations, Files, Vector stores and Batches on loopback, with a scripted model.

    ::

        with Sandbox(["Hello!", FunctionCall("lookup", {"order": "W1"}), "It is on its way."]) as sandbox:
            client = sandbox.client()

    State lives as long as the object; a sandbox can be entered once.

    Args:
        model: What the model says: a list of answers, a `Script`, a function of the `ModelRequest` (plain or async), or
            None for an echo.
        faults: What goes wrong, and when.
        embedding: How vector stores embed files; None embeds them at once.
        batches: How batches are processed; None does them at once.
        api_key: The key that requests must carry; None takes any.
        host: Address to listen on.
        port: Port to listen on; 0 takes a free one.
        model_in_thread: Run a plain function in a worker thread, so that it may block. False calls it on the server's
            event loop, which is quicker.
        require_consumed: Raise `AssertionError` on exit while the script holds answers that nothing asked for.
        background: What becomes of ``background: true``: ``"supported"``; ``"refused"`` with 400, as in projects with
            European residency; ``"foreground"``, executed at once, as some servers that imitate the API do.
        on_disconnect: What becomes of a foreground response whose client leaves: ``"stop"`` ends it where it is, as
            the API documents; ``"complete"`` bills it and adds it to the conversation all the same.
        limits: Requests and tokens per minute: a `RateLimits` that every model has for itself, or a mapping of model
            names to them. None enforces none. What counts is told in `assistantguard.sandbox.rate_limits`.
        window_seconds: How long background work waits before it is done that has a completion window: by window, in
            seconds by the sandbox's clock; left out, ``{"2h": 3600, "8h": 14400}``.
        log_requests: How many of the newest requests `requests` holds; None is all.
        keep_responses: How many of the newest responses can be read again and continued; None is all.
        keep_calls: How many of the newest rows `billing` keeps at least; older ones count in its sums only. None is
            all. With the two before, a sandbox that serves hundreds of thousands of requests does not grow.

    Raises:
        ConfigurationError: A value cannot work, or the packages of the `sandbox` extra are not installed.
    """

    def __init__(
        self,
        model: Sequence[Scripted] | Script | Model | None = None,
        *,
        faults: Sequence[Fault] = (),
        embedding: Embedding | None = None,
        batches: BatchProcessing | None = None,
        api_key: str | None = DEFAULT_KEY,
        host: str = "127.0.0.1",
        port: int = 0,
        model_in_thread: bool = True,
        require_consumed: bool = False,
        background: BackgroundMode = "supported",
        on_disconnect: OnDisconnect = "stop",
        limits: Limits | None = None,
        window_seconds: Mapping[str, float] | None = None,
        log_requests: int | None = 10_000,
        keep_responses: int | None = None,
        keep_calls: int | None = None,
    ) -> None:
        for name, limit, least in (
            ("log_requests", log_requests, 0),
            ("keep_responses", keep_responses, 1),
            ("keep_calls", keep_calls, 1),
        ):
            if limit is not None and limit < least:
                raise ConfigurationError(f"{name}={limit} is below {least}; None keeps all")
        for name, value, known in (
            ("background", background, ("supported", "refused", "foreground")),
            ("on_disconnect", on_disconnect, ("stop", "complete")),
        ):
            if value not in known:
                raise ConfigurationError(f"{name}={value!r} is not one of {', '.join(known)}")
        for window, seconds in (window_seconds or {}).items():
            if window not in {"2h", "8h"} or seconds < 0:
                raise ConfigurationError(
                    f"window_seconds={{{window!r}: {seconds!r}}}: give 0 seconds or more for the windows 2h and 8h"
                )
        self._script = _as_script(model)
        self._accepted_key = api_key
        self._host = host
        self._port = port
        self._require_consumed = require_consumed
        self._state = State(keep_responses=keep_responses)
        self.billing = Billing(keep_calls=keep_calls)
        """What a server would have charged."""
        self._application = _application(
            self._state,
            self.billing,
            self._script,
            model_in_thread=model_in_thread,
            faults=faults,
            embedding=embedding or Embedding(),
            batches=batches or BatchProcessing(),
            api_key=api_key,
            background=background,
            on_disconnect=on_disconnect,
            limits=limits,
            window_seconds=window_seconds or {},
            log_requests=log_requests,
        )
        self._server: BackgroundServer | None = None
        self._clients: list[openai.OpenAI] = []
        self._entered = False

    @property
    def app(self) -> Any:
        """The ASGI application, to be used in process. Use it from one event loop only.

        A dropped connection is a `ConnectionResetError` there, and streams are told when they are whole.
        """
        return self._application.asgi

    @property
    def base_url(self) -> str:
        """Where clients connect, with ``/v1``.

        Raises:
            ConfigurationError: The sandbox does not run.
        """
        if self._server is None:
            raise ConfigurationError("the sandbox does not run; use it as `with Sandbox(...) as sandbox:`")
        return f"http://{self._host}:{self._server.port}/v1"

    @property
    def api_key(self) -> str:
        """The key that clients send."""
        return self._accepted_key if self._accepted_key is not None else DEFAULT_KEY

    @property
    def requests(self) -> list[RecordedRequest]:
        """The requests that reached the sandbox, in order; the newest 10,000 unless `log_requests` says otherwise."""
        return list(self._application.requests)

    @property
    def faults_fired(self) -> int:
        """How many requests a fault has happened to."""
        return sum(self._application.faults.by_kind.values())

    @property
    def faults_by_kind(self) -> Counter[str]:
        """How often which kind of fault has happened."""
        return Counter(self._application.faults.by_kind)

    @property
    def faults(self) -> list[Fault]:
        """What goes wrong, and when. Assign another list at any time, from any thread; its faults count from 1."""
        return self._application.faults.faults

    @faults.setter
    def faults(self, faults: Iterable[Fault]) -> None:
        self._application.faults.replace(faults)

    def inject(self, fault: Fault) -> None:
        """Add a fault behind the others, at any time, from any thread. It counts from 1.

        Raises:
            ConfigurationError: It is no fault.
        """
        self._application.faults.add(fault)

    @property
    def rate_limits(self) -> RateLimiting:
        """What the rate limits admitted and refused."""
        return self._application.rate_limits

    @property
    def limits(self) -> Limits | None:
        """The rate limits. Assign others at any time, from any thread; they begin with a whole minute's worth."""
        return self._application.rate_limits.limits

    @limits.setter
    def limits(self, limits: Limits | None) -> None:
        self._application.rate_limits.replace(limits)

    def break_conversation(self, conversation_id: str) -> str:
        """Add a function call that nobody answers, as someone else would, and return its call id.

        Every response on the conversation is refused until the call is answered or deleted.

        Raises:
            KeyError: There is none of that id.
        """
        return self._on_server(lambda: self._application.break_conversation(conversation_id))

    def delete_conversation(self, conversation_id: str) -> None:
        """Delete a conversation behind the client's back.

        Raises:
            KeyError: There is none of that id.
        """
        self._on_server(lambda: self._state.conversations.pop(conversation_id))

    def expire_store(self, store_id: str) -> None:
        """Let a vector store expire now, behind the client's back; one that does not exist is passed over."""
        self._on_server(lambda: self._application.expire_store(store_id))

    def expire_batch(self, batch_id: str) -> None:
        """Let a batch expire now, with the requests done that were due by now.

        Raises:
            KeyError: There is none of that id.
        """
        self._on_server(lambda: self._application.batches.expire(batch_id))

    @property
    def batches(self) -> BatchProcessing:
        """How batches are processed. Assign another at any time; it is for batches that are created afterwards."""
        return self._application.batches.processing

    @batches.setter
    def batches(self, processing: BatchProcessing) -> None:
        self._application.batches.processing = processing

    def _on_server(self, action: Callable[[], T]) -> T:
        return action() if self._server is None else self._server.call(action)

    @property
    def unconsumed(self) -> int:
        """Answers of the script that nothing has asked for yet; 0 where the model is a function."""
        return self._script.unconsumed if isinstance(self._script, Script) else 0

    @property
    def conversations(self) -> list[str]:
        """Ids of the conversations that exist."""
        return list(self._state.conversations)

    def conversation(self, conversation_id: str) -> list[dict[str, Any]]:
        """Return the items of a conversation, oldest first.

        Raises:
            KeyError: There is none of that id.
        """
        return [item.data for item in self._state.conversations[conversation_id].items]

    def advance(self, seconds: float) -> None:
        """Put the sandbox's clock forward. What expires, takes time or fills up again does so by it."""
        self._state.advance(seconds)

    def client(self, **options: Any) -> openai.OpenAI:
        """Return an official client of the sandbox; it is closed with the sandbox.

        Args:
            **options: Passed to `openai.OpenAI`.
        """
        if "http_client" not in options:
            options["http_client"] = openai.DefaultHttpxClient(**_PLAIN)
        client = openai.OpenAI(**{"base_url": self.base_url, "api_key": self.api_key, **options})
        self._clients.append(client)
        return client

    def async_client(self, **options: Any) -> openai.AsyncOpenAI:
        """Return an official asynchronous client of the sandbox. Close it: ``async with`` or ``await close()``.

        Args:
            **options: Passed to `openai.AsyncOpenAI`.
        """
        if "http_client" not in options:
            options["http_client"] = openai.DefaultAsyncHttpxClient(**_PLAIN)
        return openai.AsyncOpenAI(**{"base_url": self.base_url, "api_key": self.api_key, **options})

    def __enter__(self) -> Self:
        if self._entered:
            raise ConfigurationError("a sandbox can be entered once; make a new one")
        from assistantguard.sandbox.server import BackgroundServer

        self._entered = True
        self._server = BackgroundServer(self.app, host=self._host, port=self._port, on_close=self._application.close)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with contextlib.ExitStack() as stack:
            if self._server is not None:
                stack.callback(self._server.close)
            for client in self._clients:
                stack.callback(client.close)
        self._server = None
        if error is None and self._require_consumed and self.unconsumed:
            raise AssertionError(f"the sandbox's script still holds {self.unconsumed} answers")


def _as_script(model: Sequence[Scripted] | Script | Model | None) -> Script | Model:
    if model is None:
        return echo
    if isinstance(model, Script):
        return model
    if callable(model):
        return model
    if isinstance(model, str) or not hasattr(model, "__iter__"):
        raise ConfigurationError(f"model={model!r:.80} is no model; give a list of answers, a function or None")
    return Script(list(model))


def _application(*args: Any, **options: Any) -> Application:
    try:
        import uvicorn  # noqa: F401 - asked for here, so that a missing package is told at construction

        from assistantguard.sandbox.app import Application
    except ModuleNotFoundError as error:
        raise _extra_missing(error) from error
    return Application(*args, **options)


def _extra_missing(error: ModuleNotFoundError) -> ConfigurationError:
    return ConfigurationError(
        f"the sandbox needs the package {error.name!r}, which is not installed; "
        "run: pip install 'assistantguard[sandbox]'"
    )
