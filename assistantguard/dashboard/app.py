"""The dashboard as an ASGI application."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from assistantguard.dashboard.admission import SECURITY_HEADERS, Admission, is_own_host
from assistantguard.dashboard.changes import Changes
from assistantguard.dashboard.figures import Figures
from assistantguard.dashboard.pages import Pages, static_files
from assistantguard.dashboard.refusals import RefusalFile
from assistantguard.dashboard.views import VIEWS, Views
from assistantguard.errors import AssistantGuardError, DatabaseUnavailable, ThreadNotFound
from assistantguard.policies.windows import time_zone

if TYPE_CHECKING:
    from starlette.types import Message, Receive, Scope, Send

    from assistantguard.ledger.budget_lines import OwnLimits
    from assistantguard.storage import Database
    from assistantguard.telemetry import Sink

__all__ = ["FRAGMENT_HEADER", "Dashboard"]

FRAGMENT_HEADER = "x-assistantguard-fragment"
"""Set by the script that fetches the live part of a page."""
_LONGEST_FORM = 64 << 10
"""Bytes."""
_MOST_FIELDS = 20
_WHOSE = ("account", "id", "user")
"""The parameters that say what a form is about."""
_KEPT = (*_WHOSE, "after", "days", "page", "per", "search", "which")
"""The parameters of a page's address."""
_FORM = "application/x-www-form-urlencoded"
_DONE: Mapping[str, str] = {
    "limit-set": "The limit is set.",
    "limit-cleared": "The limit is cleared: the budget's own is in force again.",
    "renamed": "The thread is renamed.",
    "archived": "The thread is archived: it takes no messages until it is restored.",
    "restored": "The thread is in use again.",
}
_log = logging.getLogger("assistantguard.dashboard")


class Dashboard:
    """An ASGI application that shows what the guards' database holds, to whoever has the token.

    Args:
        database: The database.
        sink: Is told of each change. None lets nothing be changed.
        actor: Who makes the changes, for their events.
        own_limits: The limits of the program's own budgets, as far as they are known.
        events: A file of events, for the last refusals.
        timezone: Where days begin: an IANA name.
        name: Tells its cookie from those of other dashboards on this machine, such as its port.
        refresh_seconds: After how long a page that is looked at asks for newer figures, at the soonest.

    Raises:
        ConfigurationError: There is no such time zone.
    """

    def __init__(
        self,
        database: Database,
        *,
        sink: Sink | None = None,
        actor: str = "",
        own_limits: OwnLimits | None = None,
        events: Path | None = None,
        timezone: str = "UTC",
        name: str = "",
        refresh_seconds: float = 5.0,
    ) -> None:
        self.zone = zone = time_zone("the dashboard's timezone", timezone)
        """Where days begin."""
        self.admission = Admission(name)
        """Its secrets."""
        self._changes = None if sink is None else Changes(database, sink, actor)
        self._pages = Pages(
            zone,
            database=database.url.shown,
            changes_allowed=sink is not None,
            form_token=self.admission.form_token,
            refresh_seconds=refresh_seconds,
            timezone=timezone,
        )
        refusals = None if events is None else RefusalFile(events)
        self._views = Views(Figures(database, zone, own_limits or {}), refusals)
        self._static = static_files()
        routes = [Route("/" + name.removeprefix("overview"), self._page(name)) for name in VIEWS]
        routes += [Route("/static/{file}", self._file), Route("/{page}/{action}", self._change, methods=["POST"])]
        self._router = Starlette(
            routes=routes, exception_handlers={HTTPException: self._refused, Exception: self._failed}
        )

    def address(self, base_url: str) -> str:
        """The link that lets its holder in."""
        return f"{base_url}/?{urlencode({'token': self.admission.token})}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return

        async def begin(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(SECURITY_HEADERS)
            await send(message)

        request = Request(scope, receive)
        refusal = self._refusal(request)
        try:
            await (refusal or self._router)(scope, receive, begin)
        except ClientDisconnect:
            return
        except Exception:  # noqa: BLE001 - `_failed` has answered
            _log.exception("a request failed")

    def _refusal(self, request: Request) -> Response | None:
        """The answer to one who is not let in, or who is to come in without the token; None lets the request pass."""
        hosts = request.headers.getlist("host")
        if len(hosts) != 1 or not is_own_host(hosts[0]):
            return PlainTextResponse("The dashboard answers at this machine's own address only.", 403)
        given = request.query_params.get("token")
        if given is not None and request.url.path == "/" and request.method == "GET":
            if self.admission.has_token(given):
                return RedirectResponse("/", 303, {"set-cookie": self.admission.cookie_header()})
        elif self.admission.has_session(request.headers.getlist("cookie")):
            return None
        return PlainTextResponse("Open the link that `assistantguard dashboard` printed when it was started.", 401)

    def _page(self, name: str) -> Callable[[Request], Response]:
        def page(request: Request) -> Response:
            return self._shown(request, name, request.query_params)

        return page

    def _shown(
        self, request: Request, name: str, parameters: Mapping[str, str], *, problem: str | None = None
    ) -> Response:
        """A page, or its live part; with what went wrong with a change, where something did."""
        try:
            context = VIEWS[name](self._views, parameters)
        except (AssistantGuardError, OSError) as error:
            status = _status_of(error)
            return HTMLResponse(self._pages.whole("problem", message=_text_of(error), status=status), status)
        if FRAGMENT_HEADER in request.headers:
            return HTMLResponse(self._pages.live(name, **context))
        kept = [(key, value) for key, value in parameters.items() if key in _KEPT]
        done = _DONE.get(parameters.get("done", "")) if problem is None else None
        return HTMLResponse(
            self._pages.whole(
                name, done=done, problem=problem, typed=parameters if problem else {}, kept=urlencode(kept), **context
            ),
            HTTPStatus.OK if problem is None else HTTPStatus.BAD_REQUEST,
        )

    def _file(self, request: Request) -> Response:
        found = self._static.get(request.path_params["file"])
        if found is None:
            raise HTTPException(404)
        kind, content = found
        return Response(content, media_type=kind)

    async def _change(self, request: Request) -> Response:
        """Make a change that a form asks for."""
        act = self._views.actions.get((request.path_params["page"], request.path_params["action"]))
        if act is None:
            raise HTTPException(404)
        fields = await _fields(request)
        changes = self._changes
        if changes is None:
            raise HTTPException(403, "The dashboard was started without --allow-changes: it changes nothing.")
        headers = request.headers
        if not self.admission.may_change(
            fields.pop("form_token", ""),
            host=headers["host"],
            origin=headers.get("origin"),
            site=headers.get("sec-fetch-site"),
        ):
            raise HTTPException(403, "This form is not from a page of this dashboard as it runs now: load it anew.")

        def work() -> Response:
            page = request.path_params["page"]
            try:
                done = act(changes, fields)
            except (AssistantGuardError, OSError) as error:
                return self._shown(request, page, fields, problem=_text_of(error))
            address = [(name, value) for name, value in fields.items() if name in _WHOSE]
            return RedirectResponse(f"/{page}?{urlencode([*address, ('done', done)])}", 303)

        return await run_in_threadpool(work)

    def _refused(self, _: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        message = f"{HTTPStatus(error.status_code).phrase}." if error.detail == "" else error.detail
        content = self._pages.whole("problem", message=message, status=error.status_code)
        return HTMLResponse(content, error.status_code, error.headers)

    def _failed(self, _: Request, error: Exception) -> Response:
        return PlainTextResponse(f"The dashboard failed ({type(error).__name__}); its log says more.", 500)


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form.

    Raises:
        HTTPException: It is none, or too long.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != _FORM:
        raise HTTPException(415, f"A form is expected: {_FORM}.")
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LONGEST_FORM:
            raise HTTPException(413, f"A form of at most {_LONGEST_FORM:,} bytes is expected.")
    try:
        found = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except ValueError as error:
        raise HTTPException(400, f"A form of at most {_MOST_FIELDS} fields in UTF-8 is expected.") from error
    return dict(found)


def _status_of(error: Exception) -> int:
    if isinstance(error, ThreadNotFound):
        return HTTPStatus.NOT_FOUND
    if isinstance(error, (DatabaseUnavailable, OSError)):
        return HTTPStatus.SERVICE_UNAVAILABLE
    return HTTPStatus.BAD_REQUEST


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.filename} cannot be read: {error.strerror}."
    text = str(error)
    return text[:1].upper() + text[1:]
