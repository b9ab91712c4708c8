from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from assistantguard.dropin.serving import Limits
from assistantguard.sandbox import Answer, Sandbox
from tests.support.serving import KEY, Served, serving

HEAD = f"host: localhost\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
LONGEST = 30.0
"""Seconds."""
pytestmark = [
    pytest.mark.filterwarnings("ignore:The Assistants API is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:deprecated$:DeprecationWarning"),
]


@pytest.fixture
def served() -> Iterator[Served]:
    limits = Limits(read_seconds=0.25, write_seconds=0.25)
    with Sandbox([Answer("At last.", delay=1.5)]) as sandbox, serving(sandbox, limits=limits) as served:
        yield served


def connected(served: Served, buffer: int | None = None) -> socket.socket:
    url = httpx.URL(served.base_url)
    line = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if buffer is not None:
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    line.settimeout(LONGEST)
    line.connect((url.host, url.port))
    return line


def read_to_the_end(line: socket.socket) -> bytes:
    """All that comes until the server closes the connection; `TimeoutError` where it does not."""
    came = b""
    while True:
        try:
            piece = line.recv(1 << 16)
        except ConnectionResetError:
            return came
        if not piece:
            return came
        came += piece


@pytest.mark.parametrize("sent", [b"", b"POST /v1/thr", f"GET /v1/threads/t HTTP/1.1\r\n{HEAD}".encode()])
def test_a_head_that_does_not_arrive_is_not_waited_for(served: Served, sent: bytes) -> None:
    with connected(served) as line:
        line.sendall(sent)
        assert read_to_the_end(line) == b""


def test_the_next_head_on_a_connection_is_not_waited_for_either(served: Served) -> None:
    with connected(served) as line:
        line.sendall(f"GET /v1/threads/t HTTP/1.1\r\n{HEAD}\r\n".encode())
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 404")
        line.sendall(b"GET /v1/thr")
        assert b"HTTP/1.1" not in read_to_the_end(line)


def test_a_body_that_was_refused_is_not_waited_for(served: Served) -> None:
    with connected(served) as line:
        line.sendall(f"POST /v1/threads HTTP/1.1\r\n{HEAD}content-length: 2000000000\r\n\r\n".encode())
        assert line.recv(1 << 16).startswith(b"HTTP/1.1 413")
        line.sendall(b"{")
        assert b"HTTP/1.1" not in read_to_the_end(line)


def test_an_answer_that_nobody_takes_is_given_up(served: Served) -> None:
    long = "word " * 50_000
    with served.client() as client:
        thread = client.beta.threads.create()
        patient = client.with_options(max_retries=20)  # a body may be held up for longer than it may take
        for _ in range(20):
            patient.beta.threads.messages.create(thread.id, role="user", content=long)
    with connected(served, 2048) as line:
        line.sendall(f"GET /v1/threads/{thread.id}/messages HTTP/1.1\r\n{HEAD}\r\n".encode())
        with connected(served) as other:  # what is closed later tells that the time is over
            assert read_to_the_end(other) == b""
        with connected(served) as other:
            assert read_to_the_end(other) == b""
        assert len(read_to_the_end(line)) < 20 * len(long)


def test_a_request_may_be_worked_on_for_longer_than_it_may_take_to_arrive(served: Served) -> None:
    with served.client() as client:
        assistant = client.beta.assistants.create(model="gpt-6-luna")
        run = client.beta.threads.create_and_run_poll(
            assistant_id=assistant.id, thread={"messages": [{"role": "user", "content": "Hello"}]}
        )
        assert run.status == "completed"
