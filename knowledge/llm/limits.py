"""How fast an endpoint is asked: one object per endpoint and model, shared by the whole process."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from pydantic import Field

from artifacts.frozen import Frozen

RECOVERY_CALLS = 20
"""Successful calls at a lowered concurrency after which one more is allowed at a time."""
_LOOK_S = 0.5
"""How often a wait looks whether it was stopped."""


class LimitsOptions(Frozen):
    """What an endpoint allows."""

    concurrency: int = Field(8, ge=1)
    """Requests in flight at a time."""
    requests_per_minute: float | None = Field(None, gt=0)
    """Requests sent per minute at most; if omitted no limit."""
    tokens_per_minute: float | None = Field(None, gt=0)
    """Tokens sent per minute at most, counted before sending: the prompt's likely ones plus the
    longest reply; if omitted no limit."""


class Limits:
    """Slots for requests; after a 429 fewer of them, which come back one by one."""

    def __init__(self, config: LimitsOptions) -> None:
        self._config = config
        self._changed = threading.Condition()
        self._allowed = config.concurrency
        self._in_flight = 0
        self._successes = 0
        self._not_before = 0.0
        self._throttled_at = 0.0
        self._requests = _Bucket(config.requests_per_minute)
        self._tokens = _Bucket(config.tokens_per_minute)

    @property
    def allowed(self) -> int:
        """Requests that may be in flight now."""
        return self._allowed

    @property
    def in_flight(self) -> int:
        """Slots that are held now."""
        return self._in_flight

    def slot(self, tokens: float, is_stopped: Callable[[], bool] = lambda: False) -> Slot:
        """Wait until a request of that many tokens may be sent; the slot ends with its block.

        Args:
            tokens: of the request.
            is_stopped: whether there is nothing to wait for any more; then the block begins at
                once, and must not send.
        """
        with self._changed:
            while (wait_s := self._wait_s(tokens)) > 0 and not is_stopped():
                self._changed.wait(min(wait_s, _LOOK_S))
            self._requests.take(1)
            self._tokens.take(tokens)
            self._in_flight += 1
        return Slot(self._release)

    def hold_off(self, seconds: float, sent_at: float) -> None:
        """After a 429: nobody sends for a while, and half as many at a time from then on.

        Args:
            seconds: to wait.
            sent_at: monotonic time at which the throttled request was sent; several that were under
                way together count once.
        """
        with self._changed:
            now = time.monotonic()
            self._not_before = max(self._not_before, now + seconds)
            if sent_at >= self._throttled_at:
                self._throttled_at = now
                self._allowed = max(1, self._allowed // 2)
            self._successes = 0

    def _release(self, succeeded: bool) -> None:
        with self._changed:
            self._in_flight -= 1
            if succeeded and self._allowed < self._config.concurrency:
                self._successes += 1
                if self._successes >= RECOVERY_CALLS:
                    self._successes = 0
                    self._allowed += 1
            self._changed.notify(2)

    def _wait_s(self, tokens: float) -> float:
        if self._in_flight >= self._allowed:
            return 60.0  # until a slot is released
        now = time.monotonic()
        waits = (self._not_before - now, self._requests.wait_s(1), self._tokens.wait_s(tokens))
        return max(waits)


class Slot:
    """Room for one request in flight, until its block ends or `end` is called."""

    def __init__(self, release: Callable[[bool], None]) -> None:
        self._release = release
        self._is_held = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end(succeeded=kind is None)

    def end(self, *, succeeded: bool = True) -> None:
        """Let the next request be sent, once: the reply is there, recorded or not."""
        if self._is_held:
            self._is_held = False
            self._release(succeeded)


class _Bucket:
    """Tokens of a minute that refill steadily; a request larger than a minute's waits for all."""

    def __init__(self, per_minute: float | None) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._size = per_minute or 0.0
        # One second's worth at once: a whole minute's in the first second would be throttled.
        self._left = self._burst = max(1.0, self._size / 60)
        self._filled = time.monotonic()

    def wait_s(self, amount: float) -> float:
        if self._per_second is None:
            return 0.0
        now = time.monotonic()
        self._left = min(self._burst, self._left + (now - self._filled) * self._per_second)
        self._filled = now
        return max(0.0, (min(amount, self._burst) - self._left) / self._per_second)

    def take(self, amount: float) -> None:
        self._left -= amount


_SHARED: dict[tuple[str, str], Limits] = {}
_SHARED_LOCK = threading.Lock()


def shared_limits(endpoint: str, model: str, config: LimitsOptions) -> Limits:
    """The limits all tasks of this process share; a changed config replaces them."""
    with _SHARED_LOCK:
        found = _SHARED.get((endpoint, model))
        if found is None or found._config != config:
            found = _SHARED[endpoint, model] = Limits(config)
        return found
