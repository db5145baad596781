"""Limits: never more in flight or per minute than allowed; fewer after a 429, then slowly more."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from knowledge.llm.limits import RECOVERY_CALLS, Limits, LimitsOptions, shared_limits


def use(limits, number, work=lambda: None, tokens=1.0, workers=16):
    """Take slots from many threads; the monotonic times at which they were given."""
    given = []

    def one(_):
        with limits.slot(tokens):
            given.append(time.monotonic())
            work()

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, range(number)))
    return sorted(given)


def test_never_more_in_flight_than_allowed():
    limits = Limits(LimitsOptions(concurrency=5))
    lock, now, most = threading.Lock(), 0, 0

    def work():
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.002)
        with lock:
            now -= 1

    assert len(use(limits, 200, work, workers=32)) == 200
    assert most == 5


def test_requests_per_minute():
    given = use(Limits(LimitsOptions(concurrency=16, requests_per_minute=600)), 12)
    # 10 per second, at most one second's worth at once: the 12th needs 0.2 s at least.
    assert given[-1] - given[0] >= 0.15
    given = use(Limits(LimitsOptions(concurrency=16, requests_per_minute=60)), 2)
    assert given[1] - given[0] >= 0.95


def test_tokens_per_minute():
    limits = Limits(LimitsOptions(concurrency=16, tokens_per_minute=60_000))  # 1,000 a second
    given = use(limits, 4, tokens=500)
    assert given[2] - given[0] >= 0.45
    assert given[3] - given[0] >= 0.95


def test_a_request_larger_than_a_seconds_tokens_is_paid_off_afterwards():
    limits = Limits(LimitsOptions(concurrency=4, tokens_per_minute=60_000))
    given = use(limits, 2, tokens=1500)
    assert given[1] - given[0] >= 1.4


def test_a_hold_off_is_shared_by_all():
    limits = Limits(LimitsOptions(concurrency=8))
    sent_at = time.monotonic()
    with limits.slot(1):
        limits.hold_off(0.4, sent_at)
    assert use(limits, 8)[0] - sent_at >= 0.4


def test_throttled_together_counts_once_and_successes_bring_it_back():
    limits = Limits(LimitsOptions(concurrency=8))
    sent_at = time.monotonic()
    for _ in range(8):
        limits.hold_off(0, sent_at)
    assert limits.allowed == 4
    limits.hold_off(0, time.monotonic())
    assert limits.allowed == 2
    limits.hold_off(0, time.monotonic())
    limits.hold_off(0, time.monotonic())
    assert limits.allowed == 1
    for expected in (2, 3, 4):
        use(limits, RECOVERY_CALLS, workers=2)
        assert limits.allowed == expected
    use(limits, 10 * RECOVERY_CALLS)
    assert limits.allowed == 8


def test_failures_do_not_bring_it_back():
    limits = Limits(LimitsOptions(concurrency=2))
    limits.hold_off(0, time.monotonic())
    for _ in range(2 * RECOVERY_CALLS):
        with pytest.raises(OSError, match="broken"), limits.slot(1):
            raise OSError("broken")
    assert limits.allowed == 1
    assert len(use(limits, 3)) == 3  # their slots are free again


def test_a_slot_that_is_ended_early_is_given_once():
    limits = Limits(LimitsOptions(concurrency=1))
    with limits.slot(1) as slot:
        slot.end()
        with limits.slot(1):
            slot.end()
            assert limits.in_flight == 1
    assert limits.in_flight == 0


def test_a_wait_ends_when_there_is_nothing_to_wait_for():
    limits = Limits(LimitsOptions(concurrency=1))
    limits.hold_off(3600, time.monotonic())
    with limits.slot(1, lambda: True):
        pass


def test_one_object_per_endpoint_model_and_config():
    config = LimitsOptions(concurrency=3)
    first = shared_limits("http://limits/v1", "m", config)
    assert shared_limits("http://limits/v1", "m", LimitsOptions(concurrency=3)) is first
    assert shared_limits("http://limits/v1", "n", config) is not first
    assert shared_limits("http://limits/v1", "m", LimitsOptions(concurrency=4)).allowed == 4
