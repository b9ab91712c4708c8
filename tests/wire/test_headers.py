"""Headers, addresses and ids of what is sent."""

from __future__ import annotations

from typing import Any

import pytest
from tenacity import wait_none

from assistantguard import TokenCap, TransientRetry
from tests.wire.conftest import Wire
from tests.wire.server import answer, error, function_call


def lookup(order: str) -> str:
    """Find an order."""
    return order


def test_every_attempt_of_every_request_has_an_id_of_its_own(wire: Wire) -> None:
    wire.server.answers.extend([error(500), answer(function_call()), error(429, code="rate_limit_exceeded"), answer()])
    bot = wire.bot([TransientRetry(3, wait=wait_none())], tools=[lookup])

    reply = bot.chat("Hi")
    bot.chat("And?")

    ids = [seen.headers["x-client-request-id"] for seen in wire.server.to("POST /responses")]
    assert len(ids) == len(set(ids)) == 5
    assert all(one.isascii() and len(one) <= 512 for one in ids)
    assert sum(one.startswith(reply.run.id) for one in ids) == 4


def test_the_users_own_headers_query_and_address_are_kept(wire: Wire) -> None:
    client = wire.client(
        base_url="https://res.openai.test/openai/v1/",
        default_headers={"X-Team": "support", "User-Agent": "shop/1.0"},
        organization="org-1",
        project="proj-1",
    )

    wire.bot([TokenCap(session=1_000, counting="always")], client=client).chat("Hi")

    assert {seen.path.rpartition("/openai/v1/")[1] for seen in wire.server.requests} == {"/openai/v1/"}
    for seen in wire.server.requests:
        assert seen.headers["x-team"] == "support"
        assert seen.headers["user-agent"] == "shop/1.0"
        assert seen.headers["openai-organization"] == "org-1"
        assert seen.headers["openai-project"] == "proj-1"
        assert seen.headers["authorization"] == "Bearer sk-test"


def test_no_idempotency_key_is_sent(wire: Wire) -> None:
    wire.server.answers.extend([error(500), answer()])

    wire.bot([TransientRetry(2, wait=wait_none())]).chat("Hi")

    assert not [seen for seen in wire.server.requests if "idempotency-key" in seen.headers]


@pytest.mark.parametrize("retries", [None, 0, 7])
def test_the_sdk_is_told_not_to_retry_whatever_the_client_says(wire: Wire, retries: int | None) -> None:
    options: dict[str, Any] = {} if retries is None else {"max_retries": retries}
    wire.server.answers.extend([error(429, code="rate_limit_exceeded"), error(500), answer()])

    wire.bot([TransientRetry(3, wait=wait_none())], client=wire.client(**options)).chat("Hi")

    assert {seen.headers["x-stainless-retry-count"] for seen in wire.server.requests} == {"0"}
    assert len(wire.server.to("POST /responses")) == 3


def test_the_users_client_keeps_its_own_retries(wire: Wire) -> None:
    client = wire.client(max_retries=7)

    bot = wire.bot([], client=client)

    assert bot.guard.client is client
    assert client.max_retries == 7
