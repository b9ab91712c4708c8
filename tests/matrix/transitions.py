"""The requests that something can happen to, each with the story that leads there."""

from __future__ import annotations

from typing import Any

import tenacity

from assistantguard import (
    CarryOver,
    RunTimedOut,
    ThreadRotation,
    TokenCap,
    ToolStepCeiling,
    TransientRetry,
    VectorStoreReuse,
)
from assistantguard.models import Item
from assistantguard.sandbox import Embedding, Fault
from tests.matrix.scene import ATTEMPTS, Scene, retrying
from tests.matrix.shape import PLAIN_WAYS, Transition, Way, only

__all__ = ["BY_NAME", "ITEM", "RESPONSES", "SHORT", "TRANSITIONS", "half_a_turn", "rotating", "stuck"]

RESPONSES = "POST /responses"
RESPONSE = "GET /responses/{id}"
CANCEL = "POST /responses/{id}/cancel"
CONVERSATIONS = "POST /conversations"
ITEMS = "/conversations/{id}/items"
ITEM = "DELETE /conversations/{id}/items/{item_id}"
STORES = "/vector_stores"
SHORT = 1.7
"""Seconds that a turn gets where its story is about time."""


def _earlier(scene: Scene) -> None:
    assert scene.turn("Where is order 7?").text == "Done: Where is order 7?"


def _broken_by_others(scene: Scene) -> None:
    _earlier(scene)
    scene.sandbox.break_conversation(scene.bot.default.state.generation_id or "")


def _left_in_doubt(scene: Scene) -> None:
    """A turn that timed out, and whose work was done all the same."""
    _earlier(scene)
    scene.sandbox.faults = [
        Fault.silent(after_work=True, at=1),
        Fault.server_error(at=range(1, 99), endpoint=f"GET {ITEMS}"),
    ]
    assert scene.ending_of(lambda: scene.turn("Where is order 8?", SHORT)).name == RunTimedOut.__name__
    assert scene.bot.default.state.suspect


def _told_late(scene: Scene) -> None:
    scene.sandbox.faults = [Fault.late_usage(seconds=0.0, at=1)]
    scene.turn("Hello")
    assert scene.bot.default.state.late or scene.bot.guard.summary()["estimated_tokens"] == 0


def _files(scene: Scene, names: tuple[str, ...] = ("returns", "shipping")) -> list[str]:
    files = scene.bot.guard.client.files
    return [
        scene.world.wait(files.create(file=(f"{name}.txt", name.encode()), purpose="assistants")).id for name in names
    ]


def _attach(scene: Scene) -> None:
    scene.bot.attach_files(_files(scene))


def _attached(scene: Scene) -> None:
    _attach(scene)
    _earlier(scene)


def _store_gone(scene: Scene) -> None:
    _attached(scene)
    scene.sandbox.expire_store(scene.bot.default.state.vector_store_id or "")


def rotating(**settings: Any) -> Any:
    return lambda: {"policies": [retrying(), ThreadRotation(max_turns=1, **settings)]}


def _thirty(items: Any) -> list[Item]:
    return [Item("message", f"Earlier message {number}", "user") for number in range(len(items), len(items) + 30)]


def stuck(way: Way) -> list[Fault]:
    """No answer in time, whether it is made in the foreground or in the background."""
    return [Fault.stuck(at=1)] if way.background else [Fault.slow(30, at=1)]


def half_a_turn(_: Way) -> list[Fault]:
    return [Fault.failed_response(text="half an ans", appended=True, at=1)]


NOT_STORED = frozenset({"VectorStoreFailed"})
EXHAUSTED = frozenset({"RetriesExhausted"})
TIMED_OUT = frozenset({"RunTimedOut"})

TRANSITIONS: tuple[Transition, ...] = (
    # Starting.
    Transition("create the conversation", CONVERSATIONS),
    Transition("first request", RESPONSES, matters="paid"),
    Transition("request after tools", RESPONSES, at=2, matters="paid"),
    Transition("request of a later turn", RESPONSES, matters="paid", prepare=_earlier),
    Transition(
        "count the input",
        "POST /responses/input_tokens",
        matters="little",
        options=lambda: {"policies": [retrying(), TokenCap(session=1_000_000, counting="always")]},
    ),
    # Following an answer that is being made, or whose connection was lost.
    Transition(
        "poll",
        RESPONSE,
        ways=only(streamed=False, background=True),
        matters="little",
        stays=frozenset({"RunTimedOut"}),
        stays_deadline=SHORT,
    ),
    Transition(
        "resume the stream",
        RESPONSE,
        ways=only(streamed=True, background=True),
        leads=lambda _: [Fault.cut(3, at=1)],
        matters="little",
        stays=frozenset({"RunTimedOut"}),
        stays_deadline=SHORT,
    ),
    Transition(
        "look the answer up",
        RESPONSE,
        ways=only(streamed=True, background=False),
        leads=lambda _: [Fault.cut(3, goes_on=True, at=1)],
        matters="little",
    ),
    Transition(
        "look in the conversation",
        f"GET {ITEMS}",
        leads=lambda _: [Fault.dropped(after_work=True, at=1)],
        refused=frozenset({"Reply"}),
        refused_again=False,
    ),
    # Cancelling.
    Transition(
        "cancel",
        CANCEL,
        ways=only(background=True),
        leads=stuck,
        ends=TIMED_OUT,
        matters="little",
        deadline=SHORT,
    ),
    Transition(
        "look up what was cancelled",
        RESPONSE,
        ways=only(background=True, streamed=True),
        leads=stuck,
        ends=TIMED_OUT,
        matters="little",
        deadline=SHORT,
    ),
    # Healing, in the run, after it and before the next.
    Transition("list to heal between attempts", f"GET {ITEMS}", leads=half_a_turn, refused=EXHAUSTED),
    Transition("delete to heal between attempts", ITEM, leads=half_a_turn, refused=EXHAUSTED),
    Transition(
        "list to heal at the end",
        f"GET {ITEMS}",
        leads=stuck,
        ends=TIMED_OUT,
        matters="little",
        deadline=SHORT,
    ),
    Transition(
        "delete to heal at the end",
        ITEM,
        leads=lambda _: [Fault.silent(after_work=True, at=1)],
        ends=TIMED_OUT,
        matters="little",
        deadline=SHORT,
    ),
    Transition(
        "answer calls at the end",
        f"POST {ITEMS}",
        ends=frozenset({"ToolStepCeilingReached"}),
        matters="little",
        message="Where are order 1 and order 2?",
        options=lambda: {"policies": [retrying(), ToolStepCeiling(1)]},
        late=frozenset({"ToolStepCeilingReached"}),
    ),
    Transition(
        "list to heal before a turn",
        f"GET {ITEMS}",
        prepare=_left_in_doubt,
        refused=frozenset({"Reply"}),
        refused_again=False,
        leaves=True,
    ),
    Transition("delete to heal before a turn", ITEM, prepare=_left_in_doubt, refused=frozenset({"Reply"}), leaves=True),
    Transition("list to answer a foreign call", f"GET {ITEMS}", prepare=_broken_by_others),
    Transition("answer a foreign call", f"POST {ITEMS}", prepare=_broken_by_others, matters="appends"),
    Transition(
        "list for heal()",
        f"GET {ITEMS}",
        ways=PLAIN_WAYS,
        prepare=_broken_by_others,
        call=lambda scene: scene.world.wait(scene.bot.guard.heal()),
        deadline=3.0,
        late=frozenset({"RunTimedOut", "RetriesExhausted"}),
        options=lambda: {"run_timeout": 3.0},
        refused=frozenset({"Reply"}),
        refused_again=False,
        leaves=True,
    ),
    Transition(
        "answer for heal()",
        f"POST {ITEMS}",
        ways=PLAIN_WAYS,
        prepare=_broken_by_others,
        call=lambda scene: scene.world.wait(scene.bot.guard.heal()),
        deadline=3.0,
        late=frozenset({"RunTimedOut", "RetriesExhausted"}),
        options=lambda: {"run_timeout": 3.0},
        refused=frozenset({"Reply"}),
        matters="appends",
        leaves=True,
    ),
    Transition(
        "ask for late usage",
        RESPONSE,
        prepare=_told_late,
        matters="little",
        often=("once",),
        late=frozenset({"Reply", "RunTimedOut"}),
    ),
    # Rotation.
    Transition("read to rotate", f"GET {ITEMS}", prepare=_earlier, options=rotating()),
    Transition("create to rotate", CONVERSATIONS, prepare=_earlier, options=rotating()),
    Transition("fill to rotate", f"POST {ITEMS}", prepare=_earlier, options=rotating(carry_over=_thirty)),
    Transition(
        "delete to rotate", "DELETE /conversations/{id}", prepare=_earlier, options=rotating(), matters="little"
    ),
    Transition(
        "summary to rotate",
        RESPONSES,
        prepare=_earlier,
        options=rotating(carry_over=CarryOver(summary_model="gpt-5-nano")),
        matters="little",
        often=("once",),
    ),
    # Files.
    Transition(
        "find a vector store",
        f"GET {STORES}",
        ways=PLAIN_WAYS,
        call=_attach,
        deadline=3.0,
        late=NOT_STORED,
        options=lambda: _STORING,
    ),
    Transition(
        "create a vector store",
        f"POST {STORES}",
        ways=PLAIN_WAYS,
        call=_attach,
        deadline=3.0,
        late=NOT_STORED,
        options=lambda: _STORING,
    ),
    Transition(
        "poll a vector store",
        f"GET {STORES}/{{id}}",
        ways=PLAIN_WAYS,
        call=_attach,
        deadline=3.0,
        late=NOT_STORED,
        options=lambda: _STORING,
        sandbox={"embedding": Embedding(seconds=0.05)},
    ),
    Transition(
        "list failed files",
        f"GET {STORES}/{{id}}/files",
        ways=PLAIN_WAYS,
        call=_attach,
        deadline=3.0,
        late=NOT_STORED,
        leads=lambda _: [Fault.store_failed(at=1)],
        ends=frozenset({"VectorStoreFailed"}),
        matters="little",
        options=lambda: _STORING,
    ),
    Transition("find a store again", f"GET {STORES}", prepare=_store_gone, options=lambda: _STORING),
    Transition("create a store again", f"POST {STORES}", prepare=_store_gone, options=lambda: _STORING),
)

_STORING: dict[str, Any] = {
    "policies": [VectorStoreReuse(timeout=3), TransientRetry(ATTEMPTS, wait=tenacity.wait_none()), ToolStepCeiling(4)]
}

BY_NAME = {transition.name: transition for transition in TRANSITIONS}
