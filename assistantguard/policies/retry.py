"""Trying again, and only what may succeed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from assistantguard.errors import ConfigurationError
from assistantguard.policies.base import Decision, Policy, Retry, View
from assistantguard.policies.checks import at_least

if TYPE_CHECKING:
    from tenacity import RetryCallState
    from tenacity.stop import stop_base
    from tenacity.wait import wait_base

__all__ = ["TransientRetry"]


class TransientRetry(Policy):
    """Tries a failed request again when the failure is transient: rate limits, 5xx, a locked conversation.

    Quota, bad requests and lost connections never get here. Retries are ours alone: the SDK's own are off.
    A wait that the server asks for (``Retry-After``) is kept, whatever `wait` says.

    Args:
        max_attempts: How often a request is sent at most, the first time included. Counted anew for each request
            of a run.
        wait: A tenacity wait, for example ``wait_exponential(max=30)``. None: ``0.5 · 2ⁿ`` seconds at random,
            at most 30 (full jitter).
        stop: A tenacity stop in addition, for example ``stop_after_delay(60)``.
        max_wait: Seconds; when the server asks for a longer wait, the guard gives up at once.

    Raises:
        ConfigurationError: A number is below its minimum, or `wait` or `stop` cannot be called.
    """

    def __init__(
        self,
        max_attempts: int = 3,
        *,
        wait: wait_base | None = None,
        stop: stop_base | None = None,
        max_wait: float = 120.0,
    ) -> None:
        self.max_attempts = at_least("TransientRetry max_attempts", max_attempts, 1) or 1
        self.max_wait = at_least("TransientRetry max_wait", float(max_wait), 0.0) or 0.0
        for name, value in (("wait", wait), ("stop", stop)):
            if value is not None and not callable(value):
                raise ConfigurationError(
                    f"TransientRetry {name} is {value!r}: give a tenacity {name}, for example tenacity."
                    + ("wait_exponential(max=30)" if name == "wait" else "stop_after_delay(60)")
                )
        self._wait = wait
        self._stop = stop

    def on_failure(self, view: View) -> Decision | None:
        """Retry while attempts are left and the wait is bearable."""
        run, failure = view.run, view.failure
        assert run is not None
        assert failure is not None
        attempts = self.max_attempts
        if failure.max_retries is not None:
            attempts = min(attempts, failure.max_retries + 1)
        if run.attempt >= attempts:
            return None
        state = _retry_state(view)
        if self._stop is not None and self._stop(state):
            return None
        if failure.retry_after is not None:
            if failure.retry_after > self.max_wait:
                return None
            wait = failure.retry_after
        else:
            wait = (self._wait or _default_wait())(state)
        return Retry(f"attempt {run.attempt} of {attempts} failed: {failure.code or failure.status_code}", wait=wait)


def _default_wait() -> wait_base:
    from tenacity.wait import wait_random_exponential

    return wait_random_exponential(multiplier=0.5, max=30)


def _retry_state(view: View) -> RetryCallState:
    """What tenacity's waits and stops look at: attempt number, start and outcome time, the failure."""
    from tenacity import RetryCallState

    run, failure = view.run, view.failure
    assert run is not None
    assert failure is not None
    no_object: Any = None
    state = RetryCallState(retry_object=no_object, fn=None, args=(), kwargs={})
    state.attempt_number = run.attempt
    state.start_time = run.started_at
    error = RuntimeError(failure.message)
    state.set_exception((RuntimeError, error, None))
    state.outcome_timestamp = view.now
    return state
