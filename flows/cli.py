"""The command line. Heavy libraries are imported by the command that needs them.

One line per error: value, place, remedy; exit status 1. A halt after which the same command goes
on, such as a reached cap, exits with `RESUMABLE`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flows.options import (
    AddressOption,
    ArchOption,
    AskOptions,
    ClassesOption,
    ClipWorkersOption,
    ClusterWorkersOption,
    CorpusOption,
    CorpusTemplateOption,
    CorpusUnusableOption,
    DatasetOption,
    DecodeLimitOption,
    DeviceOption,
    FilterOption,
    FramesOption,
    IvfOption,
    KindSetOption,
    LabelsOption,
    ListOption,
    NameOption,
    PipelineKindSetOption,
    PrecisionOption,
    RecipeOption,
    RunArgument,
    RunClipOption,
    RunnerOption,
    RunWeightsOption,
    SetOption,
    ShardOption,
    SplitNumberOption,
    SplitOption,
    StoreOption,
    TopKOption,
    VideosOption,
    WeightsOption,
    WorkersOption,
    with_ask_options,
)

if TYPE_CHECKING:
    from flows.extract_knowledge import ExtractSpec
    from flows.steps import Step
    from knowledge.clip import ClipSpec
    from knowledge.datasets.listing import DatasetSpec
    from knowledge.filters import MiningConfig

RESUMABLE = 75
"""Exit status EX_TEMPFAIL of sysexits.h: what failed now may succeed later."""

app = typer.Typer(
    help="LLM knowledge and hard negatives for video action recognition: extract, mine, train.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.command()
def register(
    dataset: DatasetOption,
    videos: VideosOption,
    labels: LabelsOption = None,
    lists: ListOption = [],  # noqa: B006
    classes: ClassesOption = None,
    split_number: SplitNumberOption = None,
    name: NameOption = None,
    store: StoreOption = "store",
) -> None:
    """List a dataset and probe its videos."""

    def flow() -> list[Step]:
        from flows.register_dataset import register

        return register(
            store, _dataset(dataset, videos, labels, lists, classes, split_number, name)
        )

    _run(flow, store)


@app.command()
@with_ask_options
def extract(
    classes: Annotated[str, typer.Option(help="Registered dataset or known class list.")],
    asked: AskOptions,
    settings: KindSetOption = [],  # noqa: B006
    plan: Annotated[
        bool, typer.Option("--plan", help="Only count calls, tokens and cost; nothing is sent.")
    ] = False,
    store: StoreOption = "store",
) -> None:
    """Ask an LLM what it knows about the classes."""

    def spec() -> ExtractSpec:
        from flows.extract_knowledge import ExtractSpec

        return ExtractSpec.model_validate({"classes": classes, **_knowledge(asked, settings)})

    def show() -> None:
        from flows.extract_knowledge import show_plan

        show_plan(store, spec())

    def flow() -> list[Step]:
        from flows.extract_knowledge import extract

        return extract(store, spec())

    if plan:
        _guarded(show)
    else:
        _run(flow, store)


@app.command()
def replay(
    port: Annotated[int, typer.Option(help="Port to listen at; 0 for any free one.")] = 8765,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    calls: Annotated[
        list[str], typer.Option(help="llm_calls ref to serve; the bundled replies if omitted.")
    ] = [],  # noqa: B006
    store: StoreOption = "store",
) -> None:
    """Serve recorded replies to any OpenAI client, without key or network."""

    def serve() -> None:
        from artifacts.store import Store
        from knowledge.llm.replay import ReplayServer, bundled, recorded_calls

        recordings = [recorded_calls(Store(store).get(ref)) for ref in calls] or bundled()
        own = "recorded" if calls else "CLASSES"
        try:
            with ReplayServer(recordings, port, host) as server:
                typer.echo(f"recorded replies at {server.url}, Ctrl-C ends it; ask with")
                typer.echo(
                    f"  actionlore extract --classes CLASSES --base-url {server.url} --model {own}"
                )
                typer.echo(f"models: {', '.join(server.models)}")
                server.wait()
        except KeyboardInterrupt:
            typer.echo("ended")

    _guarded(serve)


@app.command()
def mine(
    dataset: Annotated[str, typer.Option(help="Name of the registered dataset.")],
    videos: Annotated[Path | None, typer.Option(help="Directory the videos are in.")] = None,
    clip: Annotated[str | None, typer.Option(help="open_clip architecture.")] = None,
    clip_weights: Annotated[
        str | None, typer.Option(help="Pretrained tag, checkpoint file, or `bundled`.")
    ] = None,
    corpus: CorpusOption = "",
    corpus_template: CorpusTemplateOption = None,
    corpus_max_unusable: CorpusUnusableOption = None,
    frames: FramesOption = None,
    offset: Annotated[
        str | None, typer.Option(help="Frame of each segment: center (if omitted), start.")
    ] = None,
    top_k: TopKOption = None,
    filters: FilterOption = [],  # noqa: B006
    ivf: IvfOption = None,
    from_run: Annotated[
        str | None,
        typer.Option(help="training_run ref: mine with this trained model, not with frozen CLIP."),
    ] = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    decode_limit: DecodeLimitOption = None,
    runner: RunnerOption = None,
    address: AddressOption = None,
    num_workers: ClusterWorkersOption = None,
    shard: ShardOption = None,
    device: DeviceOption = "cpu",
    store: StoreOption = "store",
) -> None:
    """Embed videos and class texts with frozen CLIP, or a trained run, and rank hard negatives."""

    def flow() -> list[Step]:
        given = {
            "dataset": dataset,
            "videos": videos,
            "clip": _optional_clip(clip, clip_weights),
            "mining": _mining(top_k, filters, ivf),
            "device": device,
        }
        where = _runner(runner, address, num_workers, shard)
        frame_options = _given({"num_frames": frames, "offset": offset})
        texts = _corpus_texts(corpus_template, corpus_max_unusable)
        encoding = _encoding(precision, workers, decode_limit)
        if from_run is not None:
            if frame_options or texts or corpus or encoding or where:
                raise ValueError(
                    "--corpus, --corpus-template, --corpus-max-unusable, --frames, --offset, "
                    "--precision, --workers, --decode-limit, --runner and --shard have no effect "
                    "with --from-run: texts and frames are those the run was trained on"
                )
            from flows.remine_negatives import RemineSpec, remine

            return remine(store, RemineSpec.model_validate({**given, "run": from_run}))
        if videos is None or clip is None:
            raise ValueError("give --videos, --clip and --clip-weights, or --from-run")
        from flows.mine_negatives import MineSpec, mine

        more = {"corpus": _names(corpus), "corpus_texts": texts, "frames": frame_options}
        more |= {"encoding": encoding, "runner": where}
        return mine(store, MineSpec.model_validate(given | more))

    _run(flow, store, wanted="negatives")


@app.command()
def train(
    dataset: Annotated[str, typer.Option(help="Name of the mined dataset.")],
    recipe: RecipeOption = "mgdm_small",
    settings: SetOption = [],  # noqa: B006
    videos: Annotated[Path | None, typer.Option(help="For data.features=videos.")] = None,
    clip: Annotated[
        str | None,
        typer.Option(help="For data.features=videos and actionclip; the bundled one if that fits."),
    ] = None,
    clip_weights: Annotated[str | None, typer.Option(help="Of --clip.")] = None,
    data: Annotated[
        str | None,
        typer.Option(help="stickworld: the recipe's method at the scale of the demo world."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the run.")] = None,
    split: SplitOption = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    processes: Annotated[int, typer.Option(help="Share each batch, one process per GPU.")] = 1,
    workers: ClipWorkersOption = 0,
    compiled: Annotated[bool, typer.Option("--compile", help="Use torch.compile.")] = False,
    tensorboard: Annotated[Path | None, typer.Option(help="Directory for its curves.")] = None,
    store: StoreOption = "store",
) -> None:
    """Train a recipe on mined artifacts and score it. A stopped run goes on where it was."""

    def flow() -> list[Step]:
        from flows.train_model import TrainSpec, train
        from training.config import RuntimeConfig
        from training.inputs import needs_clip, wanted_templates

        if data not in (None, "stickworld"):
            raise ValueError(f"--data {data} is unknown; the only value is stickworld")
        spec = TrainSpec(
            dataset=dataset,
            recipe=recipe,
            data="stickworld" if data else None,
            settings=tuple(settings),
            videos=videos,
            clip=_optional_clip(clip, clip_weights),
            name=name,
            split=split,
            runtime=RuntimeConfig(
                device=device,
                processes=processes,
                workers=workers,
                compile=compiled,
                tensorboard=tensorboard,
            ),
        )
        if videos and spec.config.data.features == "cached":
            raise ValueError("--videos has no effect with data.features=cached")
        if clip and not (needs_clip(spec.config) or wanted_templates(spec.config)):
            raise ValueError(f"--clip has no effect: {recipe} takes the embeddings that are mined")
        return train(store, spec)

    _run(flow, store)


@app.command()
def evaluate(
    run: RunArgument,
    data: Annotated[
        str | None, typer.Option(help="Mined dataset, also another one; the run's own if omitted.")
    ] = None,
    split: SplitOption = None,
    views: Annotated[
        str | None, typer.Option(help="Clips x crops of a video, e.g. 4x3; the run's if omitted.")
    ] = None,
    videos: Annotated[Path | None, typer.Option(help="For a run that takes videos.")] = None,
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    processes: Annotated[int, typer.Option(help="Share the videos, one process per GPU.")] = 1,
    workers: ClipWorkersOption = 0,
    store: StoreOption = "store",
) -> None:
    """Score a trained run: on its dataset, or zero-shot on another one."""

    def flow() -> list[Step]:
        from flows.evaluate_run import EvaluateSpec, evaluate
        from training.config import RuntimeConfig

        spec = EvaluateSpec(
            run=run,
            data=data,
            split=split,
            views=views,
            videos=videos,
            clip=_optional_clip(clip, clip_weights),
            runtime=RuntimeConfig(device=device, processes=processes, workers=workers),
        )
        return evaluate(store, spec)

    _run(flow, store)


@app.command()
def predict(
    run: RunArgument,
    videos: Annotated[list[Path], typer.Argument(help="Video files.")],
    top: Annotated[int, typer.Option(min=1, help="Classes shown per video.")] = 5,
    views: Annotated[str, typer.Option(help="Clips x crops that are averaged.")] = "1x1",
    protocol: Annotated[
        str | None, typer.Option(help="Way to classify; the one of validation if omitted.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list.")] = False,
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    device: DeviceOption = "cpu",
    store: StoreOption = "store",
) -> None:
    """Name the actions in video files with a trained run."""

    def show() -> None:
        from flows.use_run import predict

        model = _optional_clip(clip, clip_weights)
        predict(store, run, videos, model, top, views, protocol, device, as_json)

    _guarded(show)


@app.command()
def export(
    run: RunArgument,
    output: Annotated[Path, typer.Option(help="New directory.")],
    clip: RunClipOption = None,
    clip_weights: RunWeightsOption = None,
    store: StoreOption = "store",
) -> None:
    """Write a trained run as weights that need neither store nor dataset."""

    def write() -> None:
        from flows.use_run import export

        export(store, run, output, _optional_clip(clip, clip_weights))

    _guarded(write)


@app.command("register-features")
def register_features(
    dataset: Annotated[str, typer.Option(help="Name of the registered dataset.")],
    features: Annotated[
        Path, typer.Option(help=".npz or .parquet: (T, D) or (D,) for each video id.")
    ],
    clip: Annotated[
        str, typer.Option(help="open_clip architecture, or any name of what made them.")
    ],
    clip_weights: Annotated[
        str | None, typer.Option(help="Of --clip, where that can be loaded.")
    ] = None,
    texts: Annotated[
        Path | None,
        typer.Option(help="The same for class ids or names; the model's texts if omitted."),
    ] = None,
    logit_scale: Annotated[
        float | None, typer.Option(help="With --texts: factor on cosines; 100 if omitted.")
    ] = None,
    top_k: TopKOption = None,
    store: StoreOption = "store",
) -> None:
    """Take features you already have instead of embedding videos, and mine with them."""

    def flow() -> list[Step]:
        from flows.register_features import FeaturesSpec, register_features_flow

        spec = FeaturesSpec(
            dataset=dataset,
            features=features,
            clip=_clip(clip, clip_weights) if clip_weights else clip,
            texts=texts,
            logit_scale=logit_scale,
            mining=_mining(top_k, [], None),
        )
        return register_features_flow(store, spec)

    _run(flow, store)


@app.command()
@with_ask_options
def pipeline(
    dataset: DatasetOption,
    videos: VideosOption,
    clip: ArchOption,
    clip_weights: WeightsOption,
    asked: AskOptions,
    labels: LabelsOption = None,
    lists: ListOption = [],  # noqa: B006
    classes: ClassesOption = None,
    split_number: SplitNumberOption = None,
    name: NameOption = None,
    corpus: CorpusOption = "",
    corpus_template: CorpusTemplateOption = None,
    corpus_max_unusable: CorpusUnusableOption = None,
    kind_settings: PipelineKindSetOption = [],  # noqa: B006
    top_k: TopKOption = None,
    filters: FilterOption = [],  # noqa: B006
    ivf: IvfOption = None,
    precision: PrecisionOption = None,
    workers: WorkersOption = None,
    decode_limit: DecodeLimitOption = None,
    runner: RunnerOption = None,
    address: AddressOption = None,
    num_workers: ClusterWorkersOption = None,
    recipe: RecipeOption = "mgdm_small",
    settings: SetOption = [],  # noqa: B006
    split: SplitOption = None,
    device: DeviceOption = "cpu",
    store: StoreOption = "store",
) -> None:
    """Everything: register, extract, mine, train, score."""

    def flow() -> list[Step]:
        from flows.pipeline import PipelineSpec, TrainedKnowledgeSpec, pipeline

        knowledge = _knowledge(asked, kind_settings, "--kind-set")
        return pipeline(
            store,
            PipelineSpec.model_validate(
                {
                    "dataset": _dataset(
                        dataset, videos, labels, lists, classes, split_number, name
                    ),
                    "clip": _clip(clip, clip_weights),
                    "knowledge": TrainedKnowledgeSpec.model_validate(knowledge),
                    "corpus": _names(corpus),
                    "corpus_texts": _corpus_texts(corpus_template, corpus_max_unusable),
                    "encoding": _encoding(precision, workers, decode_limit),
                    "mining": _mining(top_k, filters, ivf),
                    "runner": _runner(runner, address, num_workers),
                    "recipe": recipe,
                    "settings": tuple(settings),
                    "split": split,
                    "device": device,
                }
            ),
        )

    _run(flow, store)


@app.command()
def inspect(
    what: Annotated[str, typer.Argument(help="list, show, lineage, verify, compare, or a ref.")],
    ref: Annotated[str | None, typer.Argument(help="KIND/NAME or KIND/NAME@KEY.")] = None,
    other: Annotated[str | None, typer.Argument(help="The later ref, for compare.")] = None,
    video: Annotated[str | None, typer.Option(help="Video whose negatives are shown.")] = None,
    limit: Annotated[int, typer.Option(help="Rows shown.")] = 20,
    store: StoreOption = "store",
) -> None:
    """Look at artifacts: list, show, lineage, verify, compare."""

    def look() -> None:
        from flows import inspect

        if video is not None and what in ("list", "lineage", "verify", "compare"):
            raise ValueError(f"--video has no effect with inspect {what}")
        if "/" in what and ref is None:
            inspect.show(store, what, video, limit)
        elif what == "compare" and ref and other:
            inspect.compare(store, ref, other, limit)
        elif what == "list" and not other:
            inspect.list_artifacts(store, ref)
        elif what == "verify" and not other:
            inspect.verify(store, ref)
        elif what == "show" and ref and not other:
            inspect.show(store, ref, video, limit)
        elif what == "lineage" and ref and not other:
            inspect.lineage(store, ref)
        else:
            raise ValueError(
                f"inspect {what!r}: write list [KIND], verify [REF], show REF, lineage REF, "
                "compare REF REF or REF"
            )

    _guarded(look)


@app.command("export-negatives")
def export_negatives(
    ref: Annotated[str, typer.Argument(help="negatives/NAME or negatives/NAME@KEY.")],
    output: Annotated[Path, typer.Option(help="Parquet file to write.")],
    format: Annotated[
        str, typer.Option(help="triplet, n-tuple, labeled-pair, labeled-list.")
    ] = "triplet",
    num_negatives: Annotated[
        int | None, typer.Option(help="Negatives per video; all that were mined if omitted.")
    ] = None,
    corpus: Annotated[str, typer.Option(help="Negatives of the dataset or of the union.")] = (
        "dataset"
    ),
    anchor: Annotated[str, typer.Option(help="What names a video: path, id.")] = "path",
    store: StoreOption = "store",
) -> None:
    """Write negatives as training data for sentence-transformers."""

    def write() -> None:
        from artifacts.store import Store
        from knowledge.export import ExportConfig
        from knowledge.export import export as export_job

        values = {
            "format": format,
            "num_negatives": num_negatives,
            "corpus": corpus,
            "anchor": anchor,
        }
        config = ExportConfig.model_validate(values)
        for line in export_job(Store(store).get(ref), output, config).lines():
            typer.echo(line)

    _guarded(write)


@app.command()
def report(
    ref: Annotated[str, typer.Argument(help="KIND/NAME or KIND/NAME@KEY.")],
    truth: Annotated[
        str | None, typer.Option(help="videos/NAME, or a CSV file: class,other,count.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    store: StoreOption = "store",
) -> None:
    """Judge extracted knowledge: coverage, agreement, cost, ground truth."""

    def look() -> None:
        from flows import knowledge_report

        knowledge_report.report(store, ref, truth, as_json)

    _guarded(look)


@app.command()
def recipes() -> None:
    """List the recipes with what they should reach."""

    def look() -> None:
        from flows import inspect

        inspect.recipes()

    _guarded(look)


@app.command()
def gc(
    hours: Annotated[float, typer.Option(help="Spare what was touched in the last hours.")] = 24,
    store: StoreOption = "store",
) -> None:
    """Remove what crashed jobs left behind."""

    def collect() -> None:
        from artifacts.store import Store

        removed = Store(store).gc(hours * 3600)
        for path in removed:
            typer.echo(f"removed {path}")
        typer.echo(f"{len(removed)} orphans removed")

    _guarded(collect)


@app.command()
def demo(
    directory: Annotated[Path, typer.Option(help="Where videos and artifacts go.")] = Path(
        "store/demo"
    ),
) -> None:
    """Run the whole chain offline on videos rendered here, and show the results."""

    def run() -> None:
        from flows.server import prefect_server

        with prefect_server():
            from flows.demo import demo

            demo(directory)

    _guarded(run)


@app.command()
def reproduce(
    paper: Annotated[str, typer.Argument(help="mgdm, actionclip.")],
    world: Annotated[str, typer.Option(help="stickworld")] = "stickworld",
    seeds: Annotated[int, typer.Option(help="Runs per variant.")] = 3,
    settings: SetOption = [],  # noqa: B006
    directory: Annotated[Path, typer.Option(help="Where all goes.")] = Path("store/reproduce"),
) -> None:
    """Repeat a paper's tables on the demo world, unattended."""

    def run() -> None:
        if world != "stickworld":
            raise ValueError(f"nothing to reproduce on {world!r}; there is stickworld")
        from flows.server import prefect_server

        with prefect_server():
            from flows.reproduce import reproduce

            reproduce(directory, paper, seeds, tuple(settings))

    _guarded(run)


@app.command()
def world(
    directory: Annotated[Path, typer.Argument(help="Where the videos go.")],
    config: Annotated[
        list[str], typer.Option("--set", help="KEY=NUMBER, e.g. train_per_class=8")
    ] = [],  # noqa: B006
) -> None:
    """Render the demo world's videos."""

    def render() -> None:
        from flows.steps import progress
        from knowledge.datasets.stickworld.generate import StickworldConfig, generate

        values = dict(item.partition("=")[::2] for item in config)
        with progress("rendering and encoding videos") as advance:
            spec = StickworldConfig.model_validate(values)
            generate(directory, spec, os.cpu_count() or 1, advance)
        typer.echo(f"the demo world is in {directory}")

    _guarded(render)


def main() -> None:
    """Entry point."""
    app()


def _run(flow: Callable[[], Sequence[Step]], store: str, wanted: str | None = None) -> None:
    """Run a flow with a server of its own and print what it made.

    Args:
        flow: what to run.
        store: where it publishes.
        wanted: kind of artifact without which the command must be run again: exit status
            `RESUMABLE`.
    """

    def run() -> None:
        from flows.server import prefect_server

        with prefect_server():
            from flows.steps import show_steps

            steps = flow()
            show_steps(steps, store)
        if wanted and not any(each.kind == wanted for each in steps):
            sys.exit(RESUMABLE)

    _guarded(run)


def _guarded(action: Callable[[], None]) -> None:
    """Turn what the caller can fix into one line and exit status 1, a halt into `RESUMABLE`."""
    try:
        action()
    except (ValueError, OSError, RuntimeError) as error:
        if os.environ.get("ACTIONLORE_TRACEBACK"):
            raise
        from knowledge.llm.messages import Stopped

        stopped = isinstance(error, Stopped)
        typer.echo(f"{'stopped' if stopped else 'error'}: {_one_line(error)}", err=True)
        sys.exit(RESUMABLE if stopped else 1)
    except KeyboardInterrupt:
        typer.echo("stopped; the same command goes on where it was left", err=True)
        sys.exit(130)


def _one_line(error: Exception) -> str:
    from pydantic import ValidationError

    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        problem = first["msg"].removeprefix("Value error, ")
        return f"{where}={first['input']!r}: {problem}" if where else problem
    return " ".join(str(error).split())


def _dataset(
    dataset: str,
    videos: Path,
    labels: str | None,
    lists: list[str],
    classes: str | None,
    split_number: int | None,
    name: str | None,
) -> DatasetSpec:
    from knowledge.datasets.listing import DatasetSpec

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


def _clip(arch: str, weights: str) -> ClipSpec:
    from knowledge.clip import ClipSpec

    return ClipSpec(arch=arch, weights=weights)


def _optional_clip(arch: str | None, weights: str | None) -> ClipSpec | None:
    if (arch is None) != (weights is None):
        raise ValueError("--clip and --clip-weights belong together")
    return None if arch is None or weights is None else _clip(arch, weights)


def _mining(top_k: int | None, filters: list[str], ivf: str | None) -> MiningConfig:
    from knowledge.filters import read_filters

    lines = [*filters, *([] if top_k is None else [f"top_k={top_k}"])]
    if ivf is not None:
        first, second = _two_numbers(ivf, ":", "--ivf", "NUM_LISTS:NUM_PROBES, such as 1000:32")
        lines.append(f'ivf={{"num_lists": {first}, "num_probes": {second}}}')
    return read_filters(lines, "--filter")


def _corpus_texts(template: str | None, max_unusable: float | None) -> dict[str, Any]:
    """Fields of a `CorpusConfig`."""
    return _given({"template": template, "max_unusable": max_unusable})


def _encoding(
    precision: str | None, workers: int | None, decode_limit: float | None
) -> dict[str, Any]:
    """Fields of an `EncodingConfig`."""
    given = {"precision": precision, "num_workers": workers, "deadline_s": decode_limit}
    return _given(given)


def _runner(
    runner: str | None, address: str | None, num_workers: int | None, shard: str | None = None
) -> dict[str, Any]:
    """Fields of a `RunnerSpec`."""
    form = "i/n, such as 1/4"
    numbers = None if shard is None else _two_numbers(shard, "/", "--shard", form)
    given = {"runner": runner, "address": address, "num_workers": num_workers, "shard": numbers}
    return _given(given)


def _two_numbers(text: str, separator: str, option: str, form: str) -> tuple[int, int]:
    first, _, second = text.partition(separator)
    if not (first.isdecimal() and second.isdecimal()):
        raise ValueError(f"{option} {text!r}: write {form}")
    return int(first), int(second)


def _knowledge(asked: AskOptions, settings: list[str], option: str = "--set") -> dict[str, Any]:
    """Fields of a `KnowledgeSpec`."""
    from flows.extract_knowledge import read_settings

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
    if not asked.batch and _given(batch):
        raise ValueError("--batch-wait, --batch-size and --poll have no effect without --batch")
    return {
        **_given({"kinds": tuple(asked.kind) or None}),
        "settings": read_settings(settings, option),
        "llm": _llm(asked.base_url, asked.model, asked.timeout),
        "asking": {
            "send": {"limits": _given(limits), "retry": _given(retry), "cap": cap},
            "prices": asked.prices,
            "batch": _given(batch) if asked.batch else None,
        },
        "ledger": asked.ledger,
        "min_coverage": asked.min_coverage,
    }


def _llm(base_url: str | None, model: str | None, timeout_s: float | None) -> dict[str, Any] | None:
    if base_url is None and model is None:
        if timeout_s is not None:
            raise ValueError("--timeout has no effect without --base-url and --model")
        return None
    if base_url is None or model is None:
        raise ValueError("--base-url and --model belong together")
    return {"base_url": base_url, "model": model, **_given({"timeout_s": timeout_s})}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """Options without those that were omitted."""
    return {name: value for name, value in options.items() if value is not None}


def _names(listed: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in listed.split(",") if name.strip())


if __name__ == "__main__":
    main()
