"""Runs one combination and says what it ended in and which promises it broke."""

from __future__ import annotations

import contextlib
import gc
import signal
import sys
import threading
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from unittest import mock

from assistantguard import tokens
from assistantguard.engine import exchange
from assistantguard.errors import AssistantGuardError
from tests.matrix import promises
from tests.matrix.scene import CLEANUP_TIMEOUT, RUN_TIMEOUT, Scene
from tests.matrix.shape import Combination
from tests.matrix.table import COMBINATIONS
from tests.support.world import COLOURS, World

__all__ = ["Result", "not_fired", "run", "run_named", "unraised", "warm_up"]

_SLACK = 20.0
"""Seconds that a call may take beyond its deadline and its cleaning up: the machine may be busy."""
_A_WHILE = 1.0
"""Seconds of the sandbox's clock between the story and the next message: what was to happen after a while has."""
_DAEMONS = ("assistantguard-tool", "assistantguard-watch")


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a combination."""

    id: str
    row: str
    ended_in: str
    broken: tuple[str, ...]
    """Promises that did not hold."""
    seconds: float


def warm_up() -> None:
    """Load what is loaded at its first use, so that combinations may use short deadlines; let Ctrl-C be heard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for colour in COLOURS:
        with World(colour) as world:
            world.bot(world.sandbox()).chat("Hello")
    if not tokens.wait_until_ready(60):
        raise RuntimeError("the tokenizer was not ready within 60 seconds")


def run_named(name: str) -> Result:
    """Run the combination of this id."""
    return run(COMBINATIONS[name])


def run(combination: Combination) -> Result:
    """Run a combination on a sandbox of its own."""
    broken: list[str] = []
    ended_in, seconds = "nothing", 0.0
    before = set(threading.enumerate())
    with unraised(broken), mock.patch.object(exchange, "_FIRST_PAUSE", 0.01):
        try:
            with World(combination.way.colour) as world:
                if world._loop is not None:
                    world._loop.set_exception_handler(lambda _, context: broken.append(f"on the loop: {context}"))
                scene = Scene(world, combination)
                ended_in, seconds = _play(scene, broken)
        except (AssertionError, AssistantGuardError) as error:
            broken.append(f"not as the story has it: {error!r}")
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread not in before and not (thread.daemon and thread.name in _DAEMONS)
    ]
    if left:
        broken.append(f"threads are left: {left}")
    return Result(combination.id, combination.row.name, ended_in, tuple(broken), seconds)


def _play(scene: Scene, broken: list[str]) -> tuple[str, float]:
    """The story, the fault, the next message, and what then must hold."""
    combination, sandbox = scene.combination, scene.sandbox
    row, transition = combination.row, combination.transition
    if transition.prepare is not None:
        transition.prepare(scene)
    sandbox.faults = [*transition.leads(scene.way), *row.faults(transition, combination.often)]
    fired = sandbox.faults_by_kind
    call = row.call or transition.call or (lambda on: on.turn(transition.message, combination.deadline))
    ending = scene.ending_of(lambda: call(scene))
    if ending.name not in combination.ends:
        broken.append(f"it ended in {ending.name} ({ending.error}), not in {' or '.join(sorted(combination.ends))}")
    limit = (combination.deadline or RUN_TIMEOUT) + CLEANUP_TIMEOUT + _SLACK
    if ending.seconds > limit:
        broken.append(f"it took {ending.seconds:.1f} s of {limit:g}")
    broken += not_fired(combination, sandbox.faults_by_kind - fired)
    broken += promises.broken_at_once(scene, ending)
    in_use = promises.open_streams(scene.client)
    if in_use:
        broken.append(f"{in_use} connections are still in use")
    sandbox.faults = []
    sandbox.advance(_A_WHILE)
    _go_on(scene, broken)
    if not scene.quiet():
        broken.append("the server still makes an answer that nobody waits for")
    broken += promises.broken_at_the_end(scene)
    scene.world.wait(scene.client.close())
    left = promises.connections_left(scene)
    if left:
        broken.append(f"{left} connections are left")
    return ending.name, ending.seconds


def not_fired(combination: Combination, fired: Counter[str]) -> Iterator[str]:
    """A row whose fault never happened shows nothing."""
    row, transition, often = combination.row, combination.transition, combination.often
    fired -= Counter(fault.kind for fault in transition.leads(combination.way))
    for fault in row.faults(transition, often):
        if not fired[fault.kind]:
            yield f"the fault {fault.kind} did not happen"


def _go_on(scene: Scene, broken: list[str]) -> None:
    """The next message is answered, and the one after it."""
    for message in ("Where is order 9?", "Are you there?"):
        after = scene.ending_of(lambda message=message: scene.turn(message))
        text = None if after.reply is None else after.reply.text
        if after.name != "Reply" or text != f"Done: {message}":
            broken.append(f"the next message {message!r} ended in {after.name}: {text or after.error}")
        broken.extend(promises.broken_at_once(scene, after))


@contextlib.contextmanager
def unraised(broken: list[str]) -> Iterator[None]:
    """Note warnings, and exceptions that nobody could catch."""

    def note(unraisable: Any) -> None:
        broken.append(f"unraisable: {unraisable.exc_value!r} in {unraisable.object!r}")

    before, sys.unraisablehook = sys.unraisablehook, note
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            yield
            gc.collect(1)  # what nobody refers to any more ends here, and not in the next combination
        broken.extend(f"warning: {one.message} ({one.filename}:{one.lineno})" for one in caught)
    finally:
        sys.unraisablehook = before
