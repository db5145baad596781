"""How an endpoint is asked: limits, retries and cap."""

from __future__ import annotations

from pydantic import Field

from artifacts.frozen import Frozen
from knowledge.llm.budget import Cap
from knowledge.llm.limits import LimitsOptions


class RetryOptions(Frozen):
    """When a request is repeated after an error that may pass."""

    attempts: int = Field(5, ge=1)
    """At a request, in one run."""
    pause_s: float = Field(2.0, ge=0)
    """Longest pause after the first; it doubles after each further one and is drawn below that."""
    max_pause_s: float = Field(60.0, ge=0)
    """Longest such pause."""
    max_wait_s: float = Field(120.0, ge=0)
    """Longest wait an endpoint may ask for (Retry-After), and longest time it may answer 429
    without saying how long; beyond it the run stops, resumably."""


class SendOptions(Frozen):
    """How an endpoint is asked."""

    limits: LimitsOptions = LimitsOptions()
    retry: RetryOptions = RetryOptions()
    cap: Cap = Cap()
