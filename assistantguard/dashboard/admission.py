"""Who may see the dashboard, and what a browser may do with its pages.

The token is in the link that the command prints. It is exchanged for a cookie that scripts cannot read, and the browser
is sent on to an address without it. Requests that name another host than this machine are refused, since such a name
may lead here for a foreign page (DNS rebinding). Changes need, besides the cookie, a second secret that is in our own
forms only.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Mapping, Sequence
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from assistantguard.dropin.serving import is_loopback

__all__ = ["SECURITY_HEADERS", "Admission", "is_own_host"]

_BYTES = 32
"""Of randomness in a secret."""
_HOST = re.compile(r"(?P<name>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\])(?::\d{1,5})?")

SECURITY_HEADERS: Mapping[str, str] = {
    "cache-control": "no-store",
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self';"
        " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
"""What every answer carries."""


class Admission:
    """The secrets of one dashboard: its token, its session and what its forms carry.

    Args:
        name: Tells its cookie from those of other dashboards on this machine, such as its port.
    """

    def __init__(self, name: str = "") -> None:
        self.token = secrets.token_urlsafe(_BYTES)
        """What the link has."""
        self.session = secrets.token_urlsafe(_BYTES)
        """What the cookie holds."""
        self.form_token = hmac.new(self.session.encode(), b"form", hashlib.sha256).hexdigest()
        """What each form that changes something carries."""
        self.cookie = f"assistantguard-{name}"
        """The cookie's name. A browser sends a machine's cookies to all its ports."""

    def cookie_header(self) -> str:
        """``Set-Cookie`` for who came with the token."""
        return f"{self.cookie}={self.session}; Path=/; HttpOnly; SameSite=Strict"

    def has_token(self, given: str) -> bool:
        """Whether this is the token. Takes as long for each of its length."""
        return _same(given, self.token)

    def has_session(self, cookies: Sequence[str]) -> bool:
        """Whether these ``Cookie`` headers hold the session."""
        for header in cookies:
            try:
                morsel = SimpleCookie(header).get(self.cookie)
            except CookieError:
                continue
            if morsel is not None and _same(morsel.value, self.session):
                return True
        return False

    def may_change(self, given: str, *, host: str, origin: str | None, site: str | None) -> bool:
        """Whether a form is our own, and was sent from a page of ours.

        Args:
            given: What it carries.
            host: The request's ``Host``.
            origin: Its ``Origin``; ``null`` is what browsers send from pages without a referrer, such as ours.
            site: Its ``Sec-Fetch-Site``.
        """
        if site not in {None, "same-origin"}:
            return False
        if origin not in {None, "null"} and urlsplit(origin or "").netloc != host:
            return False
        return _same(given, self.form_token)


def is_own_host(host: str) -> bool:
    """Whether a ``Host`` header names this machine, at whatever port: a tunnel may have another one."""
    match = _HOST.fullmatch(host)
    return match is not None and is_loopback(match["name"])


def _same(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), secret.encode())
