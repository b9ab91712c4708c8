"""The other process: it polls runs that it did not create, runs their tools, and goes on with them."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
import warnings
from multiprocessing.connection import Connection
from typing import Any
from unittest import mock

from assistantguard import tokens
from assistantguard.engine import exchange
from tests.matrix.dropin_stage import Place, Stage, Turn
from tests.matrix.dropin_table import COMBINATIONS
from tests.support.world import World

__all__ = ["OtherProcess", "OtherProcessFailed"]

_START = 60.0
_LONGEST = 60.0
"""Seconds after which a run that is polled never ends."""


class OtherProcessFailed(AssertionError):
    """What the other process raised, or that it did not answer."""


class OtherProcess:
    """A process that is kept for many combinations, one after another."""

    def __init__(self) -> None:
        self._line: Connection | None = None
        self._process: Any = None

    def begin(self, place: Place) -> None:
        """Take a combination up."""
        if self._process is None or not self._process.is_alive():
            context = multiprocessing.get_context("spawn")
            self._line, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()
            self.hear(_START)
        self.ask(place)
        self.hear()

    def ask(self, message: Any) -> None:
        """Ask for something; `hear` gives the answer."""
        assert self._line is not None
        self._line.send(message)

    def hear(self, seconds: float = _LONGEST) -> Any:
        """What it answers.

        Raises:
            OtherProcessFailed: It raised something, or did not answer in time.
        """
        assert self._line is not None
        if not self._line.poll(seconds):
            self.close()
            raise OtherProcessFailed(f"the other process did not answer in {seconds:g} s: a run never came to rest")
        answer = self._line.recv()
        if isinstance(answer, str):
            raise OtherProcessFailed(answer)
        return answer

    def close(self) -> None:
        """End it."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._process = None
        if self._line is not None:
            self._line.close()
            self._line = None


def _serve(line: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; this process ends with it
    warnings.simplefilter("ignore")
    tokens.wait_until_ready(_START)
    line.send(None)
    with contextlib.suppress(EOFError), mock.patch.object(exchange, "_FIRST_PAUSE", 0.01):
        while True:
            _play(line, line.recv())


def _play(line: Connection, place: Place) -> None:
    """One combination: it begins with its place, and ends with None."""
    combination = COMBINATIONS[place.combination]
    with World(combination.way.colour) as world:
        stage = Stage(world, combination, place)
        line.send(None)
        try:
            while (wanted := line.recv()) is not None:
                try:
                    answer: Turn | str = stage.finish(*wanted)
                except Exception:  # noqa: BLE001 - told to the parent
                    answer = f"the other process: {traceback.format_exc()}"
                line.send(answer)
        finally:
            stage.close()
    line.send(None)
