"""Runs one combination over the drop-in and says what its run ended in and which promises were broken."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from assistantguard.engine import exchange
from tests.matrix import promises, runner
from tests.matrix.dropin_other import OtherProcess, OtherProcessFailed
from tests.matrix.dropin_scene import DropInScene
from tests.matrix.dropin_stage import Turn
from tests.matrix.dropin_table import COMBINATIONS, statuses
from tests.matrix.scene import CLEANUP_TIMEOUT, RUN_TIMEOUT
from tests.matrix.shape import Combination
from tests.support.checks import check_requests, check_thread
from tests.support.world import World

__all__ = ["run", "run_named", "warm_up"]

_SLACK = 6.0
_A_WHILE = 61.0
"""Seconds after which files that took too long are searchable: each run of the thread needs them."""
_ENDED = {"completed", "failed", "incomplete", "cancelled", "expired"}
_DEPRECATED = ("warning: The Assistants API is deprecated", "warning: deprecated (")
"""What the SDK says of all that is below ``client.beta``, and here it is called on purpose."""
_other = OtherProcess()
"""The other process of this one."""


def warm_up() -> None:
    """See `runner.warm_up`."""
    runner.warm_up()


def run_named(name: str) -> runner.Result:
    """Run the combination of this id."""
    return run(COMBINATIONS[name], _other)


def run(combination: Combination, other: OtherProcess) -> runner.Result:
    """Run a combination on a sandbox and a database of its own."""
    broken: list[str] = []
    ended_in, seconds = "nothing", 0.0
    before = set(threading.enumerate())
    with (
        tempfile.TemporaryDirectory(prefix="matrix") as directory,
        runner.unraised(broken),
        mock.patch.object(exchange, "_FIRST_PAUSE", 0.01),
    ):
        try:
            with World(combination.way.colour) as world:
                scene = DropInScene(world, combination, other, f"sqlite:///{Path(directory) / 'guard.db'}")
                ended_in, seconds = _play(scene, broken)
        except OtherProcessFailed as error:
            other.close()
            broken.append(str(error))
        except AssertionError as error:
            other.close()
            broken.append(f"not as the story has it: {error!r}")
    broken = [promise for promise in broken if not promise.startswith(_DEPRECATED)]
    left = [each.name for each in threading.enumerate() if each not in before and not each.daemon]
    if left:
        broken.append(f"threads are left: {left}")
    return runner.Result(combination.id, combination.row.name, ended_in, tuple(broken), seconds)


def _play(scene: DropInScene, broken: list[str]) -> tuple[str, float]:
    """The story, the fault, two turns more, and what then must hold."""
    combination, sandbox = scene.combination, scene.sandbox
    row, transition = combination.row, combination.transition
    stage: Any = scene
    if transition.prepare is not None:
        transition.prepare(stage)
    sandbox.faults = [*transition.leads(scene.way), *row.faults(transition, combination.often)]
    fired = sandbox.faults_by_kind
    turn = _turn(scene)
    ends = statuses(combination)
    if turn.status not in ends:
        broken.append(f"it ended {turn.status} ({turn.last_error}), not {' or '.join(sorted(ends))}: {turn.seen}")
    limit = (combination.deadline or RUN_TIMEOUT) * len(turn.seen) + CLEANUP_TIMEOUT + _SLACK
    if turn.seconds > limit:
        broken.append(f"it took {turn.seconds:.1f} s of {limit:g}")
    broken += runner.not_fired(combination, sandbox.faults_by_kind - fired)
    sandbox.faults = []
    sandbox.advance(_A_WHILE)
    broken += _told(scene, transition.message, turn)
    for message in ("Where is order 9?", "Are you there?"):
        after = scene.turn(message)
        broken += _told(scene, message, after)
        if (after.status, after.text) != ("completed", f"Done: {message}"):
            broken.append(f"the next run ended {after.status}: {after.text or after.last_error}")
    if not scene.quiet():
        broken.append("the server still makes an answer that nobody waits for")
    broken += _at_the_end(scene)
    in_use = promises.open_streams(scene.stage.inner)
    if in_use:
        broken.append(f"{in_use} connections are still in use")
    scene.close()
    return turn.status, turn.seconds


def _turn(scene: DropInScene) -> Turn:
    row, transition = scene.combination.row, scene.combination.transition
    stage: Any = scene
    if row.call is not None:
        turn: Turn = row.call(stage)
        return turn
    if transition.call is None:
        return scene.turn(transition.message, scene.combination.deadline)
    transition.call(stage)  # it brings files for the next message; how long they may take, the policies say
    return scene.turn(transition.message)


def _told(scene: DropInScene, message: str, turn: Turn) -> Iterator[str]:
    """What must hold as soon as a run has ended."""
    if turn.status not in _ENDED:
        yield f"a run came to rest as {turn.status}"
    if scene.stage.ledger.open_holds():
        yield f"{len(scene.stage.ledger.open_holds())} holds are open"
    if turn.status in {"failed", "expired"} and not turn.last_error:
        yield f"a run ended {turn.status} without saying why"
    if turn.status == "completed":
        if not turn.usage:
            yield "a completed run tells no usage"
        messages = scene.messages()
        if messages.count(("user", message)) != 1 or messages.count(("assistant", turn.text)) != 1:
            yield f"{message!r} was answered with {turn.text!r}, and the thread holds {messages}"


def _at_the_end(scene: DropInScene) -> Iterator[str]:
    """What must hold when the next runs have ended and the server has come to rest."""
    stage: Any = scene
    yield from promises.books(stage)
    yield from promises.asserted("requests", lambda: check_requests(scene.sandbox))
    yield from promises.asserted("thread", lambda: check_thread(scene.sandbox, stage))
    twice = {order: number for order, number in scene.asked.items() if number > 1}
    if twice:
        yield f"a tool ran twice: {twice}"
    entries = scene.stage.ledger.entries()
    tokens, kept = sum(entry.usage.total_tokens for entry in entries), scene.state.usage.total_tokens
    if tokens != kept:
        yield f"the books have {tokens} tokens, and the thread {kept}"
    halves = [text for _, text in scene.messages() if "half an ans" in text]
    if halves:
        yield f"half an answer stands in the thread: {halves}"
