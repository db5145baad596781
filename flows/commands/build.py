"""From options to the models that flows take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.commands.options import AskOptions

if TYPE_CHECKING:
    from knowledge.clip.weights import ClipSpec
    from knowledge.datasets.spec import DatasetSpec
    from knowledge.mining.config import MiningConfig


def dataset_spec(
    dataset: str,
    videos: Path,
    labels: str | None,
    lists: list[str],
    classes: str | None,
    split_number: int | None,
    name: str | None,
) -> DatasetSpec:
    """A `DatasetSpec`; `lists` are of the form SPLIT=FILE."""
    from knowledge.datasets.spec import DatasetSpec

    pairs = {}
    for item in lists:
        split, separator, path = item.partition("=")
        if not separator or split in pairs:
            problem = f"split {split!r} is given twice" if separator else "write SPLIT=FILE"
            raise ValueError(f"--list {item!r}: {problem}")
        pairs[split] = path
    return DatasetSpec.model_validate(
        {
            "dataset": dataset,
            "videos": videos,
            "labels": labels,
            "lists": pairs,
            "classes": classes,
            "split_number": split_number,
            "name": name,
        }
    )


def variants(items: list[str], option: str) -> dict[str, tuple[str, ...]]:
    """Refs by variant, from VARIANT=REF[,REF...]."""
    found: dict[str, tuple[str, ...]] = {}
    for item in items:
        variant, _, refs = item.partition("=")
        members = tuple(ref.strip() for ref in refs.split(","))
        if not variant or not all(members):
            raise ValueError(f"{option} {item!r}: write VARIANT=METRICS[,METRICS...]")
        if variant in found:
            raise ValueError(
                f"{option} {item!r}: {variant} is given twice; put all of its metrics into one, "
                "separated by commas"
            )
        found[variant] = members
    return found


def clip_spec(arch: str, weights: str) -> ClipSpec:
    """A `ClipSpec`."""
    from knowledge.clip.weights import ClipSpec

    return ClipSpec(arch=arch, weights=weights)


def optional_clip_spec(arch: str | None, weights: str | None) -> ClipSpec | None:
    """A `ClipSpec` where both options are given."""
    if (arch is None) != (weights is None):
        raise ValueError("--clip and --clip-weights belong together")
    return None if arch is None or weights is None else clip_spec(arch, weights)


def mining_config(top_k: int | None, filters: list[str], ivf: str | None) -> MiningConfig:
    """A `MiningConfig`."""
    from knowledge.mining.config import read_filters

    lines = [*filters, *([] if top_k is None else [f"top_k={top_k}"])]
    if ivf is not None:
        first, second = _two_numbers(ivf, ":", "--ivf", "NUM_LISTS:NUM_PROBES, such as 1000:32")
        lines.append(f'ivf={{"num_lists": {first}, "num_probes": {second}}}')
    return read_filters(lines, "--filter")


def corpus_texts(template: str | None, max_unusable: float | None) -> dict[str, Any]:
    """Fields of a `CorpusConfig`."""
    return given_only({"template": template, "max_unusable": max_unusable})


def encoding_fields(
    precision: str | None, workers: int | None, decode_limit: float | None
) -> dict[str, Any]:
    """Fields of an `EncodingOptions`."""
    given = {"precision": precision, "num_workers": workers, "deadline_s": decode_limit}
    return given_only(given)


def runner_fields(
    runner: str | None, address: str | None, num_workers: int | None, shard: str | None = None
) -> dict[str, Any]:
    """Fields of a `RunnerSpec`."""
    form = "i/n, such as 1/4"
    numbers = None if shard is None else _two_numbers(shard, "/", "--shard", form)
    given = {"runner": runner, "address": address, "num_workers": num_workers, "shard": numbers}
    return given_only(given)


def _two_numbers(text: str, separator: str, option: str, form: str) -> tuple[int, int]:
    first, _, second = text.partition(separator)
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(f"{option} {text!r}: write {form}")
    return int(first), int(second)


def knowledge_fields(
    asked: AskOptions, settings: list[str], option: str = "--set"
) -> dict[str, Any]:
    """Fields of a `KnowledgeSpec`."""
    from flows.commands.kind_settings import read_settings

    limits = {
        "concurrency": asked.concurrency,
        "requests_per_minute": asked.rpm,
        "tokens_per_minute": asked.tpm,
    }
    attempts = None if asked.retries is None else asked.retries + 1
    retry = {"attempts": attempts, "max_wait_s": asked.max_wait}
    cap = {"max_usd": asked.max_usd, "max_tokens": asked.max_tokens}
    batch = {
        "max_wait_s": asked.batch_wait,
        "max_requests": asked.batch_size,
        "poll_s": asked.poll,
    }
    if not asked.batch and given_only(batch):
        raise ValueError("--batch-wait, --batch-size and --poll have no effect without --batch")
    return {
        **given_only({"kinds": tuple(asked.kind) or None}),
        "settings": read_settings(settings, option),
        "llm": _llm(asked),
        "asking": {
            "send": {"limits": given_only(limits), "retry": given_only(retry), "cap": cap},
            "prices": asked.prices,
            "batch": given_only(batch) if asked.batch else None,
        },
        "ledger": asked.ledger,
        "min_coverage": asked.min_coverage,
    }


def _llm(asked: AskOptions) -> dict[str, Any] | None:
    url, model = asked.base_url, asked.model
    limits = given_only({"timeout_s": asked.timeout, "deadline_s": asked.deadline})
    if url is None and model is None:
        if limits:
            raise ValueError(
                "--timeout and --deadline have no effect without --base-url and --model"
            )
        return None
    if url is None or model is None:
        raise ValueError("--base-url and --model belong together")
    return {"base_url": url, "model": model, **limits}


def given_only(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those that were omitted."""
    return {name: value for name, value in options.items() if value is not None}


def names(listed: str) -> tuple[str, ...]:
    """Names separated by commas."""
    return tuple(name.strip() for name in listed.split(",") if name.strip())
