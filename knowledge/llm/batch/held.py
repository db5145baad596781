"""Which requests open batches hold, as the ledger knows; nothing is asked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from knowledge.llm.ledger.ledger import BatchRow, Ledger
from knowledge.llm.messages import ChatRequest
from knowledge.llm.sender import Sender

if TYPE_CHECKING:
    from openai.types import Batch


def check_not_in_batch(sender: Sender, requests: Sequence[ChatRequest]) -> None:
    """Let requests be sent one by one only if no open batch holds them.

    Raises:
        ValueError: one does, so they would be paid twice.
    """
    for row, held in held_in_batches(sender.ledger, sender.model.endpoint, sender.model.model):
        if count := sum(sender.key(request) in held for request in requests):
            raise ValueError(
                f"{named(row)} at {row.endpoint} holds {count} of these requests, which would be "
                "paid twice; ask in batch mode (--llm-batch), which takes its replies"
            )


def held_in_batches(
    ledger: Ledger, endpoint: str, model: str
) -> Iterator[tuple[BatchRow, frozenset[str]]]:
    """Open batches, each with the keys of the requests it has still to answer."""
    for row in ledger.open_batches(endpoint, model):
        attempts = ledger.batch_attempts(row.batch_key)
        yield row, frozenset(each.request_key for each in attempts if each.status == "in_flight")


def named(row: BatchRow, batch: Batch | None = None) -> str:
    """A batch in messages: by its id at the endpoint as soon as it has one."""
    return f"batch {batch.id if batch else row.batch_id or row.batch_key}"
