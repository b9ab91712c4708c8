from __future__ import annotations

import pytest

from assistantguard.dashboard import Dashboard
from assistantguard.dashboard.admission import Admission
from assistantguard.events import Event
from tests.dashboard.calling import ADDRESS, Caller
from tests.support.books import Books

EVERYTHING = ("/", "/users", "/threads", "/thread?id=t-1", "/runs", "/static/style.css", "/nowhere", "/?token=")
LIMIT = {"account": "user:ann@day", "metric": "tokens", "amount": "7"}


def stranger(books: Books) -> Caller:
    return Caller(Dashboard(books.database), admitted=False)


@pytest.mark.parametrize("address", EVERYTHING)
def test_nobody_gets_in_without_the_token(books: Books, address: str) -> None:
    answer = stranger(books).get(address)
    assert answer.status_code == 401
    assert "Open the link" in answer.text
    assert "set-cookie" not in answer.headers


def test_a_token_that_is_nearly_right_is_wrong(books: Books) -> None:
    caller = stranger(books)
    token = caller.dashboard.admission.token
    for given in (token[:-1], token + "x", token.swapcase(), "é", ""):
        assert caller.get("/", params={"token": given}).status_code == 401
    assert caller.get("/users", params={"token": token}).status_code == 401


def test_the_token_becomes_a_cookie_that_scripts_cannot_read_and_leaves_the_address(books: Books) -> None:
    caller = stranger(books)
    admission = caller.dashboard.admission
    answer = caller.get(caller.dashboard.address(ADDRESS))
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert admission.token not in cookie
    assert caller.page("/")


def test_the_session_of_another_dashboard_is_none(books: Books) -> None:
    caller, other = stranger(books), Admission()
    headers = {"cookie": other.cookie_header().partition(";")[0]}
    assert caller.get("/", headers=headers).status_code == 401
    assert caller.get("/", headers={"cookie": 'assistantguard-="; \\'}).status_code == 401


def test_tokens_differ_and_are_long() -> None:
    tokens = {Admission().token for _ in range(20)}
    assert len(tokens) == 20
    assert min(map(len, tokens)) >= 43


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "localhost.evil.example", "x@127.0.0.1", ""]
)
def test_a_name_that_is_not_this_machines_is_refused(caller: Caller, host: str) -> None:
    for address in ("/", caller.dashboard.address("")):
        answer = caller.get(address, headers={"host": host})
        assert answer.status_code == 403
        assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("host", ["localhost", "localhost:9", "127.0.0.1:8765", "[::1]:1234"])
def test_this_machine_is_reached_by_its_own_names_and_through_tunnels(caller: Caller, host: str) -> None:
    assert caller.get("/static/live.js", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("address", ["/", "/nowhere", "/static/live.js", "/thread?id=absent"])
def test_every_answer_forbids_what_the_pages_do_not_need(books: Books, caller: Caller, address: str) -> None:
    for answer in (caller.get(address), stranger(books).get(address)):
        headers = answer.headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert headers["cache-control"] == "no-store"
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_a_form_of_another_site_changes_nothing(
    caller: Caller, books: Books, told: list[Event], headers: dict[str, str]
) -> None:
    answer = caller.post("/account/set", LIMIT, headers=headers)
    assert answer.status_code == 403
    assert not books.ledger.limits(["user:ann@day"])
    assert not told


@pytest.mark.parametrize("token", [None, "", "x", "é"])
def test_a_form_without_the_pages_own_token_changes_nothing(caller: Caller, books: Books, token: str | None) -> None:
    fields = LIMIT if token is None else {**LIMIT, "form_token": token}
    assert caller.send("/account/set", fields).status_code == 403
    assert not books.ledger.limits(["user:ann@day"])


def test_a_form_of_our_own_page_is_taken_with_the_headers_that_browsers_send(caller: Caller) -> None:
    for headers in ({"origin": "null", "sec-fetch-site": "same-origin"}, {"origin": ADDRESS}):
        assert caller.post("/account/set", LIMIT, headers=headers).status_code == 303


def test_read_only_it_has_no_forms_that_change_and_takes_none(books: Books) -> None:
    books.thread("t-1", "ann", "Orders")
    caller = Caller(Dashboard(books.database))
    for address in ("/thread?id=t-1&user=ann", "/account?account=user:ann@day", "/user?user=ann"):
        assert 'method="post"' not in caller.page(address)
        assert caller.dashboard.admission.form_token not in caller.page(address)
    for action, fields in (
        ("/account/set", LIMIT),
        ("/account/clear", LIMIT),
        ("/thread/rename", {"id": "t-1", "user": "ann", "name": "Else"}),
        ("/thread/archive", {"id": "t-1", "user": "ann"}),
        ("/thread/restore", {"id": "t-1", "user": "ann"}),
    ):
        answer = caller.post(action, fields)
        assert answer.status_code == 403
        assert "--allow-changes" in answer.text
    info = books.threads.info("t-1", "ann")
    assert (info.name, info.archived_at) == ("Orders", None)
    assert not books.ledger.limits(["user:ann@day"])


def test_bodies_that_are_no_form_of_ours_are_refused(caller: Caller) -> None:
    assert caller.post("/account/set", LIMIT, headers={"content-type": "text/plain"}).status_code == 415
    assert caller.post("/account/set", {**LIMIT, "amount": "7" * 70_000}).status_code == 413
    assert caller.post("/account/set", {f"f{number}": "1" for number in range(30)}).status_code == 400
    assert caller.post("/account/steal", LIMIT).status_code == 404
    assert caller.get("/account/set").status_code == 405
