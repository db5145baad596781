"""How an endpoint is asked: limits, retries and cap, one by one or in batches."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from artifacts.frozen import Frozen
from knowledge.llm.limits import LimitsOptions

TIMEOUT_S = 120.0
"""Longest silence of an endpoint."""
DEADLINE_S = 1200.0
"""Longest time to the end of a reply; some endpoints send blanks while a request waits its turn."""
MAX_REQUESTS = 50_000
"""Most requests of a batch."""
MAX_FILE_BYTES = 200_000_000
"""Largest file of requests the API takes."""
Window = Literal["24h"]


class RetryOptions(Frozen):
    """When a request is repeated after an error that may pass."""

    retries: int = Field(4, ge=0)
    """Repetitions of a request after an error that may pass, in one run."""
    pause_s: float = Field(2.0, ge=0)
    """Longest pause after the first; it doubles after each further one and is drawn below that."""
    max_pause_s: float = Field(60.0, ge=0)
    """Longest such pause."""
    max_wait_s: float = Field(120.0, ge=0)
    """Longest wait in s that the endpoint may ask for (Retry-After), and longest time it may answer
    429 without saying how long; beyond it the run stops, resumably."""


class Cap(Frozen):
    """The most that all attempts in a ledger may cost together."""

    max_usd: float | None = Field(None, gt=0)
    """US dollars that all attempts in the ledger may cost together; if omitted no cap."""
    max_tokens: int | None = Field(None, gt=0)
    """Tokens that all attempts in the ledger may take together; if omitted no cap."""

    @property
    def is_set(self) -> bool:
        """Whether anything is capped."""
        return self.max_usd is not None or self.max_tokens is not None


class SendOptions(Frozen):
    """How an endpoint is asked."""

    limits: LimitsOptions = LimitsOptions()
    """How fast."""
    retry: RetryOptions = RetryOptions()
    """When a request is repeated."""
    cap: Cap = Cap()
    """What it may cost."""


class BatchOptions(Frozen):
    """How batches are sent and waited for."""

    poll_s: float = Field(30.0, gt=0)
    """Pause in s between two looks at the open batches, and after an error that may pass."""
    max_wait_s: float | None = Field(None, ge=0)
    """Longest wait in s; then the run stops, and the same command goes on from there; if omitted no
    limit."""
    window: Window = "24h"
    """Time in which the endpoint has to be done."""
    max_requests: int = Field(MAX_REQUESTS, ge=1, le=MAX_REQUESTS)
    """Requests of one batch; more of them are several batches side by side."""
    max_file_bytes: int = Field(MAX_FILE_BYTES, ge=1, le=MAX_FILE_BYTES)
    """Bytes of the file of one batch; likewise."""
    rows_per_commit: int = Field(500, ge=1)
    """Results that are recorded together."""
    attempts: int = Field(3, ge=1)
    """How often requests that a batch left undone are sent, in one run."""


class AskingOptions(Frozen):
    """How an endpoint is asked; nothing here changes what is asked."""

    send: SendOptions = SendOptions()
    """How requests are sent."""
    prices: Path | None = None
    """Price table (JSON); if omitted the bundled one."""
    batch: BatchOptions | None = None
    """Ask through the endpoint's Batch API, cheaper and slower; if omitted one by one."""
