"""Options that several commands share: which field of their models each one is."""

from __future__ import annotations

from typing import Annotated

import typer

from flows.commands import values
from flows.commands.fields import Field, Options

StoreOption = Annotated[
    str,
    typer.Option(
        "--store",
        envvar="ACTIONLORE_STORE",
        help="Directory or fsspec URL of artifacts.",
        rich_help_panel="Store",
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]

DATASET: Options = {
    "--dataset": Field("dataset", known="knowledge.datasets.spec:reader_names"),
    "--videos": "videos",
    "--labels": "labels",
    "--list": Field("lists", values.list_files, "SPLIT=FILE", repeats=True),
    "--classes": "classes",
    "--split-number": "split_number",
    "--name": "name",
}
"""Of a `DatasetSpec`."""

CLIP: Options = {
    "--clip": "clip.arch",
    "--clip-weights": Field("clip.weights", required=False),
}
ENCODING: Options = {
    "--precision": "encoding.precision",
    "--workers": "encoding.num_workers",
    "--decode-limit": "encoding.deadline_s",
}
CORPUS: Options = {
    "--corpus": Field("corpus", values.names, "NAME[,NAME...]"),
    "--corpus-template": "corpus_texts.template",
    "--corpus-max-unusable": "corpus_texts.max_unusable",
}
MINING: Options = {
    "--top-k": "mining.top_k",
    "--filter": Field(
        "mining",
        values.filters,
        "NAME=VALUE",
        repeats=True,
        known="knowledge.mining.config:filter_names",
    ),
    "--ivf": Field("mining.ivf", values.inverted_lists, "NUM_LISTS:NUM_PROBES"),
}
RUNNER: Options = {
    "--runner": "runner.runner",
    "--address": "runner.address",
    "--num-workers": "runner.num_workers",
}
KINDS: Options = {
    "--kind": Field("kinds", form="KIND", known="knowledge.extraction.registry:kind_names"),
    "--kind-set": Field("settings", values.kind_settings, "KIND.FIELD=VALUE", repeats=True),
    "--min-coverage": "min_coverage",
}
"""Of a `KnowledgeSpec`, as all that follow."""
ENDPOINT: Options = {
    "--llm-base-url --base-url": "llm.base_url",
    "--llm-model --model": "llm.model",
    "--llm-timeout --timeout": "llm.timeout_s",
    "--llm-deadline --deadline": "llm.deadline_s",
    "--llm-retries --retries": "asking.send.retry.retries",
    "--llm-max-wait --max-wait": "asking.send.retry.max_wait_s",
    "--llm-ledger --ledger": "ledger",
}
LIMITS: Options = {
    "--llm-concurrency --concurrency": "asking.send.limits.concurrency",
    "--llm-rpm --rpm": "asking.send.limits.requests_per_minute",
    "--llm-tpm --tpm": "asking.send.limits.tokens_per_minute",
    "--llm-max-usd --max-usd": "asking.send.cap.max_usd",
    "--llm-max-tokens --max-tokens": "asking.send.cap.max_tokens",
    "--llm-prices --prices": "asking.prices",
}
BATCH: Options = {
    "--llm-batch --batch": Field("asking.batch", values.present),
    "--llm-batch-wait --batch-wait": Field("asking.batch.max_wait_s", needs="--llm-batch"),
    "--llm-batch-size --batch-size": Field("asking.batch.max_requests", needs="--llm-batch"),
    "--llm-poll --poll": Field("asking.batch.poll_s", needs="--llm-batch"),
}
