"""Options of the commands, most of them shared by several."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer

from knowledge.kind_modules import kind_names

StoreOption = Annotated[
    str,
    typer.Option(
        "--store", envvar="ACTIONLORE_STORE", help="Directory or fsspec URL of artifacts."
    ),
]
VideosOption = Annotated[Path, typer.Option("--videos", help="Directory the videos are in.")]
DatasetOption = Annotated[
    str, typer.Option("--dataset", help="Reader of the dataset: folder, kinetics, stickworld.")
]
LabelsOption = Annotated[str | None, typer.Option(help="Label CSV of the dataset.")]
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
    str, typer.Option(help="Further class lists for negatives, separated by commas.")
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
DeviceOption = Annotated[str, typer.Option(help="cpu or cuda.")]
RunArgument = Annotated[str, typer.Argument(help="Trained run: NAME (the newest) or NAME@KEY.")]
RunClipOption = Annotated[
    str | None,
    typer.Option("--clip", help="The run's CLIP, where it is needed; the bundled one if it is it."),
]
RunWeightsOption = Annotated[str | None, typer.Option("--clip-weights", help="Of --clip.")]
WorkersOption = Annotated[
    int, typer.Option("--workers", min=0, help="Processes that decode videos; 0: threads.")
]
TopKOption = Annotated[int, typer.Option(help="Negatives kept per video.")]
FramesOption = Annotated[int, typer.Option("--frames", help="Frames per video.")]


@dataclass(frozen=True)
class AskOptions:
    """Whom to ask for knowledge and how: options that `extract` and `pipeline` share."""

    kind: KindOption = field(default_factory=list)
    base_url: BaseUrlOption = None
    model: ModelOption = None
    timeout: TimeoutOption = None
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
