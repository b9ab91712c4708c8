"""Requests that are wrong in every way, and requests without a valid key."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from benchmarks._serve_line import CLOSED, Scene, request

__all__ = ["BROKEN", "Broken", "intrusion"]

_DEEP = 20_000
_HEAD = 200_000
"""Bytes; more than any server takes for the head of a request."""


@dataclass(frozen=True, slots=True)
class Broken:
    """A request that is wrong."""

    name: str
    made: Callable[[Scene, random.Random], bytes]
    due: frozenset[int | str]
    ends: bool = field(default=False)
    """Whether the client tells that no more comes."""


def _with_body(body: bytes, **headers: str) -> Callable[[Scene, random.Random], bytes]:
    return lambda scene, _: request("POST", "/threads", scene.key, body=body, **headers)


def _garbage(_: Scene, dice: random.Random) -> bytes:
    return bytes(dice.randrange(256) for _ in range(dice.randrange(20, 400))) + b"\r\n\r\n"


def _route(method: str, path: str) -> Callable[[Scene, random.Random], bytes]:
    return lambda scene, _: request(method, path, scene.key, {} if method != "GET" else None)


def _many_chunks(scene: Scene, _: random.Random) -> bytes:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    head = request("POST", "/threads", scene.key, content_length="", transfer_encoding="chunked")
    return head + chunk * (scene.max_body // 0x4000 + 2) + b"0\r\n\r\n"


def _chunked(rest: bytes) -> Callable[[Scene, random.Random], bytes]:
    return lambda scene, _: (
        request("POST", "/threads", scene.key, content_length="", transfer_encoding="chunked") + rest
    )


def _cut(least: int, most: int) -> Callable[[Scene, random.Random], bytes]:
    """A request that ends within its head."""
    return lambda scene, dice: request("POST", "/threads", scene.key, {})[: dice.randrange(least, most)]


def _due(*outcomes: int | str) -> frozenset[int | str]:
    return frozenset(outcomes)


BROKEN = (
    Broken("bad JSON", _with_body(b'{"messages": ['), _due(400)),
    Broken("no UTF-8", _with_body(b"\xff\xfe\x00{"), _due(400)),
    Broken("deep JSON", _with_body(b"[" * _DEEP), _due(400)),
    Broken("a list", _with_body(b"[1, 2]"), _due(400)),
    Broken("wrong types", _with_body(b'{"messages": {"role": 7}, "metadata": "x"}'), _due(400)),
    Broken("wrong content type", _with_body(b"{}", content_type="text/plain"), _due(415)),
    Broken("compressed", _with_body(b"{}", content_encoding="gzip"), _due(415)),
    Broken("body too large by its header", _with_body(b"{", content_length="2000000000"), _due(413)),
    Broken("body too large in chunks", _many_chunks, _due(413, 408)),
    Broken("length too small", _with_body(b'{"metadata": {"a": "b"}}', content_length="9"), _due(400)),
    Broken("length too large, then the end", _with_body(b"{}", content_length="400"), _due(CLOSED), ends=True),
    Broken("length is a word", _with_body(b"{}", content_length="many"), _due(400)),
    Broken("length is negative", _with_body(b"{}", content_length="-1"), _due(400)),
    Broken("length and chunks", _with_body(b"zz\r\n", transfer_encoding="chunked"), _due(400)),
    Broken("chunks without a size", _chunked(b"nonsense\r\n{}\r\n0\r\n\r\n"), _due(400)),
    Broken("chunks of another size", _chunked(b"2\r\n{}{}{}\r\n0\r\n\r\n"), _due(400)),
    Broken("unknown transfer encoding", _with_body(b"{}", content_length="", transfer_encoding="br"), _due(400, 501)),
    Broken("garbage", _garbage, _due(400)),
    Broken("TLS", lambda _, __: b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)), _due(400)),
    Broken("half a request line", _cut(1, 12), _due(CLOSED)),
    Broken("half a head", _cut(30, 60), _due(CLOSED)),
    Broken("half a head, then the end", _cut(30, 60), _due(CLOSED), ends=True),
    Broken("nothing at all", lambda _, __: b"", _due(CLOSED)),
    Broken("endless head", _with_body(b"{}", x_long="x" * _HEAD), _due(400, 431)),
    Broken("unknown route", _route("GET", "/threads/thread_none/everything"), _due(404)),
    Broken("route of the models' server", _route("POST", "/responses"), _due(404)),
    Broken("unknown thread", _route("GET", "/threads/thread_none"), _due(404)),
    Broken("path that climbs", _route("GET", "/threads/../../etc/passwd"), _due(404)),
    Broken("wrong method", _route("PUT", "/threads"), _due(405)),
    Broken("unknown method", _route("BREW", "/assistants"), _due(405)),
)


def intrusion(scene: Scene, dice: random.Random) -> bytes:
    """A request without a valid key: for a new thread, for another's thread, for a run on it, for its end."""
    wrong = (
        None,
        "sk-wrong",
        scene.key.swapcase(),
        scene.key.upper(),
        scene.key + "x",
        scene.key[:-1],
        scene.other_key,
        f"{scene.key}, Bearer {scene.key}",
    )
    headers = dice.choice(
        [
            *({} if key is None else {"authorization": f"Bearer {key}"} for key in wrong),
            {"authorization": f"Basic {scene.key}"},
            {"authorization": scene.key},
            {"authorization": "Bearer wrong\r\nauthorization: Bearer " + scene.key},
            {"api_key": scene.key},
            {"cookie": f"key={scene.key}"},
        ]
    )
    mark, thread = scene.mark, f"/threads/{scene.victim}"
    message = {"role": "user", "content": mark}
    method, path, document = dice.choice(
        [
            ("POST", "/threads", {"messages": [message], "metadata": {"mark": mark}}),
            ("POST", "/assistants", {"model": "gpt-6-luna", "instructions": mark}),
            ("GET", thread, None),
            ("POST", thread, {"metadata": {"mark": mark}}),
            ("DELETE", thread, None),
            ("GET", f"{thread}/messages", None),
            ("POST", f"{thread}/messages", message),
            ("POST", f"{thread}/runs", {"assistant_id": scene.assistant_id, "additional_instructions": mark}),
            ("POST", f"{thread}/runs", {"assistant_id": scene.assistant_id, "instructions": mark, "stream": True}),
            ("GET", f"{thread}/runs", None),
            ("POST", "/threads/runs", {"assistant_id": scene.assistant_id, "thread": {"messages": [message]}}),
            ("DELETE", f"/assistants/{scene.assistant_id}", None),
            ("GET", f"/assistants?mark={mark}", None),
            ("POST", f"/threads?api_key={scene.key}", {"messages": [message]}),
        ]
    )
    body = b"" if document is None else json.dumps(document).encode()
    return request(method, path, None, body=body, **headers)
