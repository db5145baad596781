"""Options of the commands, most of them shared by several."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from knowledge.extraction.registry import kind_names

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", envvar="ACTIONLORE_STORE", help="Directory or fsspec URL of artifacts."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", help="Print one JSON document and nothing else.")
]
VideosOption = Annotated[Path, typer.Option("--videos", help="Directory the videos are in.")]
DatasetOption = Annotated[
    str,
    typer.Option(
        "--dataset",
        help="Reader of the dataset: few_shot_lists, folder, hmdb51, kinetics, lists, "
        "mini_kinetics200, ssv2, stickworld, ucf101.",
    ),
]
LabelsOption = Annotated[
    str | None, typer.Option(help="Label file, or directory of the official list files.")
]
SplitNumberOption = Annotated[
    int | None,
    typer.Option("--split-number", help="Official split of ucf101, hmdb51: 1, 2, 3; 1 if omitted."),
]
ListOption = Annotated[list[str], typer.Option("--list", help="SPLIT=FILE, a list file per split.")]
ClassesOption = Annotated[
    str | None, typer.Option(help="Known class list or CSV (id,name[,group]) that fixes the ids.")
]
NameOption = Annotated[
    str | None, typer.Option(help="Name of the artifacts; the reader's name if omitted.")
]
ArchOption = Annotated[str, typer.Option("--clip", help="open_clip architecture.")]
WeightsOption = Annotated[
    str, typer.Option("--clip-weights", help="Pretrained tag, checkpoint file, or `bundled`.")
]
CorpusOption = Annotated[
    str,
    typer.Option(
        help="Further class lists and files of texts (.txt, .csv, .parquet) for negatives, "
        "separated by commas."
    ),
]
CorpusTemplateOption = Annotated[
    str | None,
    typer.Option(
        "--corpus-template", help="Wraps each text of such a file, with {label} for the text."
    ),
]
CorpusUnusableOption = Annotated[
    float | None,
    typer.Option(
        "--corpus-max-unusable",
        help="Share of such a file's rows that may be unusable; 0.01 if omitted.",
    ),
]
FilterOption = Annotated[
    list[str],
    typer.Option(
        "--filter",
        help="NAME=VALUE, what rejects a candidate: min_margin, max_margin, max_relative_cosine, "
        "min_cosine, max_cosine, skip_ranks, max_rank, synonym_cosine, max_cooccurrence_votes; "
        "also max_rejected, splits. Repeatable.",
    ),
]
IvfOption = Annotated[
    str | None,
    typer.Option(
        "--ivf",
        help="NUM_LISTS:NUM_PROBES, approximate search in large corpora; its recall is reported. "
        "Exact if omitted.",
    ),
]
RunnerOption = Annotated[
    str | None, typer.Option("--runner", help="dask or ray: a cluster; this process if omitted.")
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", help="Scheduler of the cluster; started here if omitted."),
]
ClusterWorkersOption = Annotated[
    int | None,
    typer.Option(
        "--num-workers", help="Workers of a cluster started here; one per core if omitted."
    ),
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard", help="i/n, only the i-th of n shards (i from 1), for a scheduler of your own."
    ),
]
BaseUrlOption = Annotated[
    str | None,
    typer.Option(help="OpenAI-compatible endpoint; bundled recorded replies if omitted."),
]
ModelOption = Annotated[str | None, typer.Option(help="Model at the endpoint.")]
LedgerOption = Annotated[Path | None, typer.Option(help="File of paid attempts.")]
KindOption = Annotated[
    list[str],
    typer.Option(
        "--kind",
        help=f"{', '.join(kind_names())}; repeatable; if omitted, those that training uses in "
        "`pipeline`, and all in `extract`.",
    ),
]
_KIND_SET = "KIND.FIELD=VALUE, a change to a kind's settings, e.g. cooccurrence.rounds=3."
KindSetOption = Annotated[list[str], typer.Option("--set", "--kind-set", help=_KIND_SET)]
PipelineKindSetOption = Annotated[list[str], typer.Option("--kind-set", help=_KIND_SET)]
ConcurrencyOption = Annotated[
    int | None, typer.Option("--concurrency", help="Requests in flight at a time; 8 if omitted.")
]
RpmOption = Annotated[float | None, typer.Option("--rpm", help="Requests per minute at most.")]
TpmOption = Annotated[float | None, typer.Option("--tpm", help="Tokens per minute at most.")]
MaxUsdOption = Annotated[
    float | None, typer.Option("--max-usd", help="US dollars that the ledger may come to.")
]
MaxTokensOption = Annotated[
    int | None, typer.Option("--max-tokens", help="Tokens that the ledger may come to.")
]
PricesOption = Annotated[
    Path | None, typer.Option("--prices", help="Price table (JSON); the bundled one if omitted.")
]
RetriesOption = Annotated[
    int | None,
    typer.Option(
        "--retries", min=0, help="Repetitions after an error that may pass; 4 if omitted."
    ),
]
MaxWaitOption = Annotated[
    float | None,
    typer.Option(
        "--max-wait", help="Longest wait in s that the endpoint may ask for; 120 if omitted."
    ),
]
BatchOption = Annotated[
    bool, typer.Option("--batch", help="Ask through the endpoint's Batch API: cheaper, slower.")
]
BatchWaitOption = Annotated[
    float | None,
    typer.Option("--batch-wait", help="Longest wait for batches in s; no limit if omitted."),
]
BatchSizeOption = Annotated[
    int | None, typer.Option("--batch-size", help="Requests of a batch at most.")
]
PollOption = Annotated[
    float | None, typer.Option("--poll", help="Pause between looks at batches in s; 30 if omitted.")
]
TimeoutOption = Annotated[
    float | None,
    typer.Option("--timeout", help="Longest silence of the endpoint in s; 120 if omitted."),
]
DeadlineOption = Annotated[
    float | None,
    typer.Option("--deadline", help="Longest time to the end of a reply in s; 1200 if omitted."),
]
CoverageOption = Annotated[
    float | None,
    typer.Option(
        "--min-coverage",
        help="Share of the classes that must be answered; if omitted 0.9 of an endpoint, 0 of "
        "recorded replies.",
    ),
]
RecipeOption = Annotated[str, typer.Option(help="Named recipe, see `actionlore recipes`.")]
SetOption = Annotated[list[str], typer.Option("--set", help="KEY=VALUE, a change to the recipe.")]
SplitOption = Annotated[str | None, typer.Option(help="Split to score.")]
WiseFtOption = Annotated[
    list[float],
    typer.Option(
        "--wise-ft",
        help="ALPHA in [0, 1]: score alpha of the trained and 1 - alpha of CLIP's own weights too; "
        "if omitted, 0.5 on other classes than the run's own. Repeatable.",
    ),
]
_METRICS = "VARIANT=METRICS[,METRICS...], NAME or NAME@KEY of `metrics`"
VariantsOption = Annotated[
    list[str],
    typer.Option("--of", help=f"{_METRICS}, one per split, draw or seed. Repeatable."),
]
BaseOption = Annotated[
    list[str],
    typer.Option("--base", help=f"{_METRICS}, on the base classes runs were trained on."),
]
NovelOption = Annotated[
    list[str],
    typer.Option("--novel", help="The same on novel classes, as many and in the same order."),
]
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
TopKOption = Annotated[int | None, typer.Option(help="Negatives kept per video; 16 if omitted.")]
PrecisionOption = Annotated[
    str | None,
    typer.Option(
        help="Of CLIP on frames and texts of files: fp32, bf16, or auto (if omitted): what is fast."
    ),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        help="Processes that decode (for each shard, on a cluster); if omitted one per core, "
        "on a cluster one."
    ),
]
DecodeLimitOption = Annotated[
    float | None,
    typer.Option(
        help="A video that takes longer to read or decode, in s, is unreadable; 300 if omitted."
    ),
]
FramesOption = Annotated[
    int | None, typer.Option("--frames", help="Frames per video; 16 if omitted.")
]
RunArgument = Annotated[str, typer.Argument(help="Trained run: NAME (the newest) or NAME@KEY.")]
RunClipOption = Annotated[
    str | None,
    typer.Option("--clip", help="The run's CLIP, where it is needed; the bundled one if it is it."),
]
RunWeightsOption = Annotated[str | None, typer.Option("--clip-weights", help="Of --clip.")]
ClipWorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that decode videos; 0: threads.")
]


@dataclass(frozen=True)
class AskOptions:
    """Whom to ask for knowledge and how: options that `extract` and `pipeline` share."""

    kind: KindOption = field(default_factory=list)
    base_url: BaseUrlOption = None
    model: ModelOption = None
    timeout: TimeoutOption = None
    deadline: DeadlineOption = None
    concurrency: ConcurrencyOption = None
    rpm: RpmOption = None
    tpm: TpmOption = None
    retries: RetriesOption = None
    max_wait: MaxWaitOption = None
    max_usd: MaxUsdOption = None
    max_tokens: MaxTokensOption = None
    prices: PricesOption = None
    min_coverage: CoverageOption = None
    batch: BatchOption = False
    batch_wait: BatchWaitOption = None
    batch_size: BatchSizeOption = None
    poll: PollOption = None
    ledger: LedgerOption = None


def with_ask_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command each field of its parameter `asked: AskOptions` as an option of its own."""
    hints = get_type_hints(AskOptions, include_extras=True)
    shared = {
        each.name: inspect.Parameter(
            each.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=[] if each.default is MISSING else each.default,
            annotation=hints[each.name],
        )
        for each in fields(AskOptions)
    }
    signature = inspect.signature(command, eval_str=True)
    parameters = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, own in signature.parameters.items()
        for parameter in (shared.values() if name == "asked" else (own,))
    ]

    @wraps(command)
    def run(**given: Any) -> None:
        asked = AskOptions(**{name: given.pop(name) for name in shared})
        command(**given, asked=asked)

    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run
