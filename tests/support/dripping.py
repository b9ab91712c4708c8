"""A server on loopback that answers paid requests byte by byte, so slowly that no read ever times out."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from typing import Any, Literal

from typing_extensions import Self

__all__ = ["Drip", "DrippingServer"]

Drip = Literal["headers", "body", "comments", "silent body"]

_PAUSE = 0.02
_LONGEST = 60.0
"""Seconds after which it gives up all the same, so that a client that waits for ever fails and does not hang."""
_HEADS: dict[Drip, bytes] = {
    "headers": b"HTTP/1.1 200 OK\r\nx-slow: ",
    "body": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n",
    "comments": b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
    "silent body": b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 999\r\n\r\n",
}
_DROPS: dict[Drip, bytes] = {
    "headers": b"a",
    "body": b"1\r\n \r\n",
    "comments": b"6\r\n: ok\n\n\r\n",
    "silent body": b"",
}


class DrippingServer:
    """Conversations are made and read at once; everything else drips until the client leaves.

    Args:
        drip: Where it drips.
        also_reads: Whether reading a conversation drips, too.
    """

    def __init__(self, drip: Drip, *, also_reads: bool = False) -> None:
        self._drip: Drip = drip
        self._also_reads = also_reads
        self._stopped = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._threads: list[threading.Thread] = []
        self._begin(self._accept)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._socket.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        for thread in self._threads:
            thread.join(60)

    def _begin(self, work: Any, *args: Any) -> None:
        thread = threading.Thread(target=work, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._begin(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.2)
        with connection, contextlib.suppress(OSError):
            received = b""
            while not self._stopped.is_set():
                try:
                    part = connection.recv(65_536)
                except TimeoutError:
                    continue
                if not part:
                    return
                received += part
                head, found, body = received.partition(b"\r\n\r\n")
                if not found or len(body) < _length(head):
                    continue
                received = b""
                if not self._answer(connection, head.decode().split(" ", 2)):
                    return

    def _answer(self, connection: socket.socket, line: list[str]) -> bool:
        """Answer a request; return whether the connection can be used again."""
        method, path = line[0], line[1].partition("?")[0]
        if (method, path) == ("POST", "/v1/conversations"):
            _send(connection, {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}})
        elif method == "GET" and path.endswith("/items") and not self._also_reads:
            _send(connection, {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False})
        else:
            connection.sendall(_HEADS[self._drip])
            until = time.monotonic() + _LONGEST
            while not self._stopped.wait(_PAUSE) and time.monotonic() < until:
                connection.sendall(_DROPS[self._drip])
            return False
        return True


def _length(head: bytes) -> int:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


def _send(connection: socket.socket, document: dict[str, Any]) -> None:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body)
