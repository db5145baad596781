"""`actionlore embed` and `actionlore classify`: frozen CLIP on video files."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.table import Table

from artifacts.store import Store
from flows.orchestration.console import console, progress
from flows.orchestration.resolve import classes_named
from flows.orchestration.specs.video_files import ClassifySpec, EmbedSpec, VideoFilesSpec
from knowledge.clip.model import Clip, load_clip
from knowledge.clip.tokens import fitting
from knowledge.datasets.class_files import (
    by_class,
    is_class_file,
    read_class_file,
    read_description_file,
)
from knowledge.datasets.class_names import prompt_name
from knowledge.embedding.config import resolve_precision
from knowledge.embedding.video_files import (
    LOGIT_SCALE,
    EmbeddedVideo,
    class_cosines,
    class_embeddings,
    embed_files,
    write_embeddings,
)
from knowledge.video.decoding import VideoError


def embed(spec: EmbedSpec) -> None:
    """Write the embeddings of video files; those that cannot be read are named.

    Raises:
        ValueError: no such directory, a CLIP that cannot be loaded, or no file that can be read.
    """
    if not spec.output.absolute().parent.is_dir():
        raise ValueError(f"{spec.output.parent} is no directory; make it, or write somewhere else")
    clip = load_clip(spec.clip)
    seen = list(_embedded(spec, clip, is_shown=True))
    made = [each for each in seen if isinstance(each, EmbeddedVideo)]
    failed = [each for each in seen if isinstance(each, VideoError)]
    for error in failed:
        console.print(f"left out: {error}", markup=False, soft_wrap=True)
    if not made:
        raise ValueError(f"no video could be read; the first: {failed[0]}")
    write_embeddings(spec.output, made, clip.identity, spec.frames)
    shape = " x ".join(map(str, made[0].units_TD.shape))
    console.print(f"{len(made)} videos ({shape}) are in {spec.output}", markup=False)


def classify(store: str, spec: ClassifySpec, as_json: bool) -> None:
    """Show the classes that frozen CLIP finds nearest to video files.

    Raises:
        ValueError: classes or texts that cannot be read, a CLIP that cannot be loaded, or no file
            that can be read.
    """
    names = _names(store, spec.classes)
    described = _described(store, spec, list(names)) if spec.descriptions else {}
    clip = load_clip(spec.clip)
    texts = _texts(clip, spec, names, described)
    classes_KD = class_embeddings(clip, list(texts.values()))
    found: list[dict[str, Any]] = []
    seen = _embedded(spec, clip, is_shown=not as_json)
    for path, each in zip(spec.videos, seen, strict=True):
        if isinstance(each, VideoError):
            found.append({"video": str(path), "error": each.reason})
            continue
        cosines_K = class_cosines(each, classes_KD)
        chances_K = (LOGIT_SCALE * cosines_K).softmax(dim=0)
        order = cosines_K.argsort(descending=True, stable=True)[: spec.num_top].tolist()
        top = [
            {
                "name": list(texts)[k],
                "probability": float(chances_K[k]),
                "cosine": float(cosines_K[k]),
            }
            for k in order
        ]
        found.append({"video": str(path), "top": top})
    if as_json:
        print(json.dumps(found, indent=1))
    else:
        console.print(_table(found))
    if all("error" in each for each in found):
        raise ValueError(f"no video could be read; the first: {found[0]['error']}")


def _embedded(
    spec: VideoFilesSpec, clip: Clip, *, is_shown: bool
) -> Iterator[EmbeddedVideo | VideoError]:
    precision = resolve_precision(spec.precision, spec.clip, spec.device)
    how = (spec.frames, precision, spec.device, spec.workers)
    if not is_shown or len(spec.videos) == 1:
        yield from embed_files(clip, spec.videos, *how)
        return
    with progress("decoding and encoding videos") as advance:
        for done, each in enumerate(embed_files(clip, spec.videos, *how), start=1):
            advance(done, len(spec.videos))
            yield each


def _names(store: str, classes: str) -> dict[str, str]:
    """Every class's name, and how prompts spell it."""
    if is_class_file(classes):
        return {name: prompt_name(name) for name in read_class_file(Path(classes).expanduser())}
    return classes_named(Store(store), classes)


def _described(store: str, spec: ClassifySpec, names: list[str]) -> dict[str, list[str]]:
    assert spec.descriptions is not None
    if is_class_file(spec.descriptions):
        pairs = read_description_file(Path(spec.descriptions).expanduser())
        return by_class(pairs, names, f"description file {spec.descriptions}")
    target = Store(store)
    artifact = target.get(f"descriptions/{spec.descriptions.removeprefix('descriptions/')}")
    listed = target.get(artifact.manifest.inputs["classes"].ref).read(["class_id", "name"])
    name_of = {row["class_id"]: row["name"] for row in listed.to_pylist()}
    rows = artifact.read(["class_id", "text"]).to_pylist()
    return by_class([(name_of[r["class_id"]], r["text"]) for r in rows], names, str(artifact.ref))


def _texts(
    clip: Clip, spec: ClassifySpec, names: dict[str, str], described: dict[str, list[str]]
) -> dict[str, list[str]]:
    """The texts that stand for each class: its descriptions, or its name in every template."""
    texts = {}
    for name, written in names.items():
        fit = [fitting(text, clip.tokens.fits) for text in described.get(name, ())]
        prompts = [template.replace("{label}", written) for template in spec.templates]
        texts[name] = [text for text in fit if text] or prompts
    if described and (lacking := [name for name in names if name not in described]):
        logging.getLogger(__name__).warning(
            "%d of the %d classes have no description, and are known by their names: %s",
            *(len(lacking), len(names), ", ".join(lacking[:5])),
        )
    return texts


def _table(found: list[dict[str, Any]]) -> Table:
    table = Table("video", "class", "probability %", "cosine", box=None, pad_edge=False)
    for each in found:
        name = each["video"]
        if "error" in each:
            table.add_row(name, f"[red]{each['error']}[/red]", "", "")
        for row in each.get("top", ()):
            chance, cosine = f"{100 * row['probability']:.1f}", f"{row['cosine']:.4f}"
            table.add_row(name, row["name"], chance, cosine)
            name = ""
    return table
