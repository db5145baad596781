"""What calls cost: prices, the most a call can cost, and a cap that is never passed.

A call is admitted only if everything charged so far plus the most it can cost stays within the cap;
when it is done, what it did cost replaces the most. What was possibly billed stays charged in full.
"""

from __future__ import annotations

import hashlib
import json
import math
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from artifacts.frozen import Frozen
from artifacts.provenance import canonical_json
from knowledge.llm.messages import ChatReply, LlmError, Stopped
from knowledge.llm.options import Cap

BUNDLED_PRICES = Path(__file__).with_name("prices.json")
TOKENS_PER_MESSAGE = 16
"""Bound on the tokens that wrap a message in any chat template we know."""
CHARACTERS_PER_TOKEN = 4.0
"""Usual length of a token in English text, for estimates only."""
_NOT_CHARGED = (502, 503, 504)
"""Statuses of gateways and endpoints without room, which bill nothing."""


class Charge(Frozen):
    """Tokens and money; `usd` is None where the price is unknown."""

    tokens: int = Field(0, ge=0)
    usd: float | None = Field(0.0, ge=0)


class Price(Frozen):
    """US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    completion: float = Field(ge=0)
    batch: float = Field(1.0, ge=0, le=1)
    """Factor on both in batch mode."""

    def usd(self, prompt_tokens: int, completion_tokens: int, *, batch: bool = False) -> float:
        """Cost of a call."""
        full = (prompt_tokens * self.prompt + completion_tokens * self.completion) / 1e6
        return full * self.batch if batch else full


class PriceTable(Frozen):
    """A versioned table of prices by host and model."""

    version: str
    """Date it was written."""
    prices: dict[str, dict[str, Price]]
    """Host of the base URL -> model -> price; a model also stands for its dated versions."""
    sha256: str = ""
    """Of the file."""

    def of(self, endpoint: str, model: str) -> Price | None:
        """Price of a model at an endpoint; None if the table does not say."""
        models = self.prices.get(urlsplit(endpoint).hostname or "", {})
        if model in models:
            return models[model]
        dated = [name for name in models if model.startswith(f"{name}-20")]
        return models[max(dated, key=len)] if dated else None


def load_prices(path: Path | None = None) -> PriceTable:
    """Read a price table; the bundled one when None.

    Raises:
        ValueError: no such file, or not a price table.
    """
    path = path or BUNDLED_PRICES
    try:
        data = path.read_bytes()
        table = PriceTable.model_validate(json.loads(data))
    except (OSError, ValueError) as error:
        detail = error.errors()[0]["msg"] if isinstance(error, ValidationError) else str(error)
        raise ValueError(
            f"price table {path}: {detail}; write "
            '{"version": "2026-01-31", "prices": {"HOST": {"MODEL": {"prompt": 1.0, '
            '"completion": 4.0}}}}'
        ) from None
    return table.model_copy(update={"sha256": hashlib.sha256(data).hexdigest()})


def worst_case(
    body: Mapping[str, Any], price: Price | None, *, batch: bool = False, excess: float = 1.0
) -> Charge:
    """The most a request can cost: no token is shorter than a byte of the request.

    Without a limit on the reply nothing bounds it, and the prompt alone is counted.

    Args:
        body: of the request.
        price: of the model, if known.
        batch: whether it is sent in a batch.
        excess: how many times the limit a reply may be long.
    """
    texts = [message["content"] for message in body["messages"]]
    if "response_format" in body:
        texts.append(canonical_json(body["response_format"]))
    prompt = sum(len(text.encode()) + TOKENS_PER_MESSAGE for text in texts)
    completion = math.ceil((longest_reply(body) or 0) * excess)
    usd = None if price is None else price.usd(prompt, completion, batch=batch)
    return Charge(tokens=prompt + completion, usd=usd)


def longest_reply(body: Mapping[str, Any]) -> int | None:
    """Tokens to which a request limits its reply."""
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    return int(limit) if limit is not None else None


def likely_tokens(body: Mapping[str, Any]) -> float:
    """Tokens of a request and the longest reply to it, by the usual length of a token."""
    prompt = sum(len(message["content"]) for message in body["messages"]) / CHARACTERS_PER_TOKEN
    return prompt + (longest_reply(body) or 0)


def actual(
    outcome: ChatReply | LlmError, most: Charge, price: Price | None, *, batch: bool = False
) -> Charge:
    """What a finished call is charged: its usage where reported, nothing if refused, else `most`.

    Refused is what got a status 4xx, 502, 503 or 504 or was never sent. A status 500 or a
    connection lost after sending may have been billed.

    A usage report above `most` is believed: then the endpoint ignored the limit on the reply.
    """
    if isinstance(outcome, LlmError):
        is_free = not outcome.may_be_billed or outcome.status_code in _NOT_CHARGED
        return Charge() if is_free else most
    prompt, completion = outcome.prompt_tokens, outcome.completion_tokens
    if prompt is None or completion is None:
        return most
    usd = None if price is None else price.usd(prompt, completion, batch=batch)
    return Charge(tokens=prompt + completion, usd=usd)


class Budget:
    """Admits calls within a cap; one object serves many threads."""

    def __init__(
        self, cap: Cap, charged: Charge, price: Price | None, uncertain: Charge | None = None
    ) -> None:
        """Start from what the ledger holds.

        Args:
            cap: the most that may be charged.
            charged: so far.
            price: of the model, if known.
            uncertain: the part of `charged` that is only possibly billed.

        Raises:
            ValueError: a cap in money for a model without a price, or after calls without one.
        """
        if cap.max_usd is not None and (price is None or charged.usd is None):
            raise ValueError(
                f"a cap of {cap.max_usd:g} US dollars needs the price of every call in the ledger; "
                "add the model to a price table (--llm-prices FILE), and if the ledger holds calls "
                "made without one, cap tokens instead (--llm-max-tokens) or begin another ledger"
            )
        self._cap = cap
        self._charged = charged
        self._uncertain = uncertain or Charge()
        self._lock = threading.Lock()

    @property
    def charged(self) -> Charge:
        """What was spent, and reserved for calls under way."""
        return self._charged

    def admit(self, body: Mapping[str, Any], most: Charge) -> None:
        """Reserve the most a request can cost.

        Raises:
            Stopped: that could pass the cap.
            ValueError: the request does not limit its reply, so nothing can be reserved.
        """
        if self._cap.is_set and longest_reply(body) is None:
            raise ValueError("a capped request must limit its reply; set max_completion_tokens")
        with self._lock:
            after = _sum(self._charged, most)
            charges = (after, self._charged, self._uncertain, most)
            for unit, limit, amounts in (
                ("US dollars", self._cap.max_usd, [each.usd for each in charges]),
                ("tokens", self._cap.max_tokens, [each.tokens for each in charges]),
            ):
                total, now, unsure, one = (amount or 0 for amount in amounts)
                if limit is not None and total > limit:
                    raise Stopped(
                        f"the cap of {limit:.10g} {unit} leaves no room for another call: "
                        f"{now:.10g} are charged over all runs in the ledger, {unsure:.10g} of "
                        f"them only possibly billed, and one more may cost {one:.10g}; raise the "
                        "cap"
                    )
            self._charged = after

    def settle(self, most: Charge, real: Charge, *, is_certain: bool = True) -> None:
        """Replace a reservation by what the call did cost, or may have cost."""
        with self._lock:
            if not is_certain:
                self._uncertain = _sum(self._uncertain, real)
            usd = self._charged.usd
            if usd is not None and most.usd is not None and real.usd is not None:
                usd = max(0.0, usd + real.usd - most.usd)
            tokens = max(0, self._charged.tokens + real.tokens - most.tokens)
            self._charged = Charge(tokens=tokens, usd=usd)


def _sum(first: Charge, second: Charge) -> Charge:
    usd = None if first.usd is None or second.usd is None else first.usd + second.usd
    return Charge(tokens=first.tokens + second.tokens, usd=usd)
