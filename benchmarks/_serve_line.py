"""Connections on which any bytes can be sent, and read at any pace."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

__all__ = ["CLOSED", "PATIENCE", "SILENT", "Line", "Scene", "ask", "request"]

CLOSED = "closed"
SILENT = "silent"
PATIENCE = 300.0
"""Seconds after which the server has not answered."""
_END_OF_CHUNKS = b"0\r\n\r\n"
_PIECE = 1 << 16


@dataclass(frozen=True, slots=True)
class Scene:
    """What all clients know."""

    base_url: str
    key: str
    other_key: str
    """The key of the models' server, which is none of this server's."""
    assistant_id: str
    victim: str
    """The thread that some try to reach without a key."""
    secret: str
    """What it says."""
    mark: str
    """What is in all that is sent without a valid key."""
    long_thread: str
    """A thread whose messages fill every buffer between the server and a reader that takes nothing."""
    max_body: int
    read_seconds: float
    write_seconds: float
    seed: int

    @property
    def address(self) -> tuple[str, int]:
        """Host and port."""
        parts = urlsplit(self.base_url)
        assert parts.hostname is not None
        assert parts.port is not None
        return parts.hostname, parts.port


def request(
    method: str, path: str, key: str | None, document: Any = None, *, body: bytes | None = None, **headers: str
) -> bytes:
    """A request as it is sent. `headers` take the place of those that it would have; underscores stand for hyphens."""
    content = body if body is not None else b"" if document is None else json.dumps(document).encode()
    lines = {"host": "localhost", "content_type": "application/json", "content_length": str(len(content)), **headers}
    if key is not None:
        lines.setdefault("authorization", f"Bearer {key}")
    head = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in lines.items() if value)
    return f"{method} /v1{path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Line:
    """A connection.

    Args:
        address: Where to: host and port.
        buffer: Bytes that the system takes in for it before it is read; None for what the system thinks best.
    """

    def __init__(self, address: tuple[str, int], buffer: int | None = None) -> None:
        self._address = address
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setblocking(False)
        if buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        self.came = b""
        """What was read and is not used yet."""

    async def open(self) -> None:
        """Connect."""
        await asyncio.get_running_loop().sock_connect(self._socket, self._address)

    async def send(self, data: bytes) -> None:
        """Send all of it, or as much as the server takes before it closes the connection."""
        with contextlib.suppress(OSError):  # its answer may be there already
            await asyncio.get_running_loop().sock_sendall(self._socket, data)

    def send_no_more(self) -> None:
        """Tell the server that no more comes."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    async def more(self, most: int = _PIECE, patience: float = PATIENCE) -> bytes:
        """What comes next; empty where the server has closed the connection.

        Raises:
            TimeoutError: Nothing came.
        """
        ready = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, ready.set)
        try:
            # What comes in the moment that patience ends is read below: from Python 3.12 on, the timeout wins here.
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ready.wait(), patience)
        finally:
            loop.remove_reader(self._socket)
        try:
            return self._socket.recv(most)
        except BlockingIOError:
            raise TimeoutError from None
        except OSError:
            return b""

    async def head(self) -> tuple[int | str, dict[str, str]]:
        """The status of the answer and its headers, or how there is none."""
        try:
            while b"\r\n\r\n" not in self.came:
                piece = await self.more()
                if not piece:
                    return CLOSED, {}
                self.came += piece
        except TimeoutError:
            return SILENT, {}
        head, _, self.came = self.came.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value.strip() for name, _, value in pairs}

    async def body(self, headers: dict[str, str]) -> bytes | None:
        """The body of the answer, chunks and all; None where it does not come whole."""
        length = int(headers.get("content-length", -1))
        chunked = "transfer-encoding" in headers
        came = bytearray(self.came)
        try:
            while not came.endswith(_END_OF_CHUNKS) if chunked else len(came) != length:
                piece = await self.more()
                if not piece:
                    return None if chunked or length >= 0 else bytes(came)
                came += piece
        except TimeoutError:
            return None
        return bytes(came)

    def close(self, *, hard: bool = False) -> None:
        """Leave; `hard` as a program does that is killed."""
        if hard:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


async def ask(scene: Scene, data: bytes, *, ends: bool = False) -> tuple[int | str, bytes]:
    """Send something on a connection of its own; the status of the answer, or how there is none, and its body.

    Args:
        scene: Where to.
        data: What is sent.
        ends: Tell the server that no more comes.
    """
    line = Line(scene.address)
    try:
        await line.open()
        await line.send(data)
        if ends:
            line.send_no_more()
        status, headers = await line.head()
        if isinstance(status, str):
            return status, b""
        body = await line.body(headers)
    except OSError as error:
        return f"no connection: {error.strerror}", b""
    else:
        return (f"{status} cut off", b"") if body is None else (status, body)
    finally:
        line.close()
