"""What decides which candidates are kept as negatives."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from artifacts.frozen import Frozen

Split = Literal["train", "val", "test"]


class MiningConfig(Frozen):
    """What counts as a hard negative. A bound that is None does not bind."""

    top_k: int = Field(16, ge=1)
    """Negatives kept per video, ranked, so that any slice (top k, ranks 7-9) can be used."""
    max_rejected: int = Field(16, ge=0)
    """Rejected candidates kept per video with their reason, nearest first; all are counted."""
    synonym_cosine: float = Field(0.97, gt=0, le=1)
    """A text of another corpus whose cosine to a true class's text exceeds this is taken for the
    same action. Classes of the dataset itself are not: its labels tell them apart."""
    max_cooccurrence_votes: int | None = Field(None, ge=0)
    """Reject a class that more LLM rounds than this name as co-occurring; if omitted keep all
    (MGDM)."""
    skip_ranks: int = Field(0, ge=0)
    """Nearest texts passed over, counted without those that are true of the video or may be: the
    classes, synonyms and co-occurring ones above."""
    max_rank: int | None = Field(None, ge=1)
    """Last rank considered, counted in the same way; the negatives are among ranks
    skip_ranks + 1 to max_rank."""
    min_cosine: float | None = Field(None, ge=-1, le=1)
    """Smallest cosine(video, negative)."""
    max_cosine: float | None = Field(None, ge=-1, le=1)
    """Largest cosine(video, negative)."""
    min_margin: float | None = Field(None, ge=-2, le=2)
    """Smallest cosine(video, own class) - cosine(video, negative); own class: the true class
    nearest to the video."""
    max_margin: float | None = Field(None, ge=-2, le=2)
    """Largest margin, see `min_margin`."""
    max_relative_cosine: float | None = Field(None, gt=0, le=1)
    """Largest share r of the own class's cosine p that a negative's may be: p - (1 - r) |p|.
    Source: NV-Retriever, TopK-PercPos (0.95 there); |p| so that a bound below a negative p stays
    below it."""
    ivf: IvfConfig | None = None
    """Approximate search among all texts by inverted lists; if omitted exact search. What it misses
    is measured for the report."""
    splits: tuple[Split, ...] = Field(("train",), min_length=1)
    """Videos to mine for; MGDM trains on the training split only."""

    @model_validator(mode="after")
    def _every_setting_has_an_effect(self) -> Self:
        for low, high in (("min_cosine", "max_cosine"), ("min_margin", "max_margin")):
            first, second = getattr(self, low), getattr(self, high)
            if first is not None and second is not None and first >= second:
                raise ValueError(f"{low}={first:g} and {high}={second:g} leave no candidate")
        if self.max_rank is None:
            return self
        left = self.max_rank - self.skip_ranks
        if left < self.top_k:
            raise ValueError(
                f"max_rank={self.max_rank} leaves {max(left, 0)} ranks after "
                f"skip_ranks={self.skip_ranks}, fewer than top_k={self.top_k}; "
                + (f"set top_k={left}" if left > 0 else "set skip_ranks below it")
            )
        if self.max_cosine is self.min_margin is self.max_relative_cosine is None:
            raise ValueError(
                f"max_rank={self.max_rank} has no effect: without max_cosine, min_margin or "
                f"max_relative_cosine the first top_k={self.top_k} ranks are kept; leave it out"
            )
        return self


def filter_names() -> list[str]:
    """Names that `read_filters` takes."""
    return [name for name in MiningConfig.model_fields if name not in ("top_k", "ivf")]


def read_filters(items: Iterable[str], option: str) -> dict[str, Any]:
    """Fields of a config from lines such as `min_margin=0.05`; values are JSON.

    Args:
        items: the lines.
        option: name of the option they came from, for messages.

    Raises:
        ValueError: not of the form NAME=VALUE, an unknown name, or one that is
            given twice.
    """
    values: dict[str, Any] = {}
    for item in items:
        name, separator, text = (part.strip() for part in item.partition("="))
        if not separator or name not in MiningConfig.model_fields:
            known = ", ".join(MiningConfig.model_fields)
            raise ValueError(f"{option} {item!r}: write NAME=VALUE, where NAME is one of {known}")
        if name in values:
            raise ValueError(f"{option} {item!r}: {name} is given twice; leave one out")
        try:
            values[name] = json.loads(text)
        except json.JSONDecodeError as error:
            raise ValueError(
                f'{option} {item!r}: {text!r} is not JSON; write e.g. 0.05, null or ["val"]'
            ) from error
    return values


class IvfConfig(Frozen):
    """How the corpus is divided and how much of it a query sees."""

    num_lists: int = Field(ge=1)
    """Lists the corpus is divided into, about the square root of its rows."""
    num_probes: int = Field(ge=1)
    """Lists a query is compared with; all of them make the search exact."""
    seed: int = 0
    """Of the k-means that finds the lists and of the queries recall is measured on."""
    num_measured: int = Field(1000, ge=1)
    """Queries recall is measured on; all if there are fewer."""

    @model_validator(mode="after")
    def _probes_exist(self) -> Self:
        if self.num_probes > self.num_lists:
            raise ValueError(
                f"num_probes={self.num_probes} exceeds num_lists={self.num_lists}; "
                f"give at most {self.num_lists}"
            )
        return self


class ExportOptions(Frozen):
    """Form of the file."""

    format: Literal["triplet", "n-tuple", "labeled-pair", "labeled-list"] = "triplet"
    """Form of a row, as sentence-transformers names it."""
    num_negatives: int | None = Field(None, ge=1)
    """Negatives per video, hardest first; if omitted as many as were mined. Videos with fewer are
    left out and counted in an `n-tuple`, whose rows have one width, and give what they have in the
    other forms."""
    corpus: Literal["dataset", "union"] = "dataset"
    """Only classes of the dataset, or every text that was mined (union)."""
    anchor: Literal["path", "id"] = "path"
    """What names a video."""
