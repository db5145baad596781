"""Which neighbours of a video are hard negatives: nearest texts minus those true of it.

Source: MGDM, section 2.2, equations (10)-(12). Its softmax is monotone in the cosine, so exact
search by inner product gives the same order. Rejected candidates stay with their reason.
Legend: N videos, M texts, T frames, D embedding, K candidates.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from artifacts.tensors import read_tensor
from knowledge.datasets.class_lists import normalised

VIDEOS_PER_PART = 4096
"""Videos per Parquet part; the rows of one part are in memory at a time."""

Split = Literal["train", "val", "test"]


class MiningConfig(BaseModel):
    """What counts as a hard negative."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    top_k: int = Field(16, ge=1)
    """Negatives kept per video, ranked, so that any slice (top k, ranks 7-9) can be used."""
    synonym_cosine: float = Field(0.97, gt=0, le=1)
    """A text of another corpus whose cosine to a true class's text exceeds this is taken for the
    same action. Classes of the dataset itself are not: its labels tell them apart."""
    max_cooccurrence_votes: int | None = Field(None, ge=0)
    """Reject a class that more LLM rounds than this name as co-occurring; None keeps all (MGDM)."""
    splits: tuple[Split, ...] = ("train",)
    """Videos to mine for; MGDM trains on the training split only."""


@dataclass(frozen=True)
class Corpus:
    """The distinct texts negatives are taken from, the dataset's own first."""

    rows: list[dict[str, Any]]
    """text_id, name and class_id (class of the dataset, or None) of each text."""
    embedding: npt.NDArray[np.float32]
    """(M, D) unit rows."""
    repeated_names: int
    """Texts left out because an earlier corpus has the same name."""


def mine(
    store: Store,
    videos: Artifact,
    frames: Artifact,
    texts: Sequence[Artifact],
    config: MiningConfig,
    cooccurrence: Artifact | None = None,
) -> Outcome:
    """Rank the hard negatives of each video.

    Args:
        store: where to publish.
        videos: the videos and their classes.
        frames: frame embeddings of these videos.
        texts: text embeddings; the first must be the dataset's own classes.
        config: what counts as a negative.
        cooccurrence: LLM votes on the dataset's class pairs, noted beside each negative.

    Raises:
        ValueError: inputs that do not belong together, or no video to mine for.
    """
    _check(videos, frames, texts, cooccurrence, config)
    roles = {f"texts_{i}": artifact for i, artifact in enumerate(texts)}
    provenance = Provenance(
        kind="negatives",
        name=videos.manifest.name,
        config=config.model_dump(mode="json"),
        inputs=dict(inputs_of(videos=videos, frames=frames, cooccurrence=cooccurrence, **roles)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    started = time.monotonic()
    corpus = read_corpus(texts)
    labels = {
        row["video_id"]: row["class_ids"]
        for row in videos.read(["video_id", "split", "class_ids"]).to_pylist()
        if row["split"] in config.splits
    }
    video_ids, z_ND, skipped = video_embeddings(frames, labels)
    if not video_ids:
        raise ValueError(
            f"{videos.ref}: no usable video in split {', '.join(config.splits)}; "
            f"see `actionlore inspect show {videos.ref}`"
        )
    judge = _Judge(corpus, config, _votes(cooccurrence))
    statuses: Counter[str] = Counter()
    fewest_negatives = config.top_k
    with closing(store.draft(provenance)) as draft:
        for part, start in enumerate(range(0, len(video_ids), VIDEOS_PER_PART)):
            block = slice(start, start + VIDEOS_PER_PART)
            rows = list(_ranked(video_ids[block], z_ND[block], labels, corpus, judge, config.top_k))
            draft.write(pa.Table.from_pylist(rows, schema=schema_of("negatives").arrow()), part)
            statuses.update(row["status"] for row in rows)
            kept = Counter(row["video_id"] for row in rows if row["rank"])
            fewest_negatives = min(fewest_negatives, *(kept[each] for each in video_ids[block]))
        duration_s = time.monotonic() - started
        report = {
            "videos": len(video_ids),
            "videos_skipped": skipped,
            "texts": len(corpus.rows),
            "repeated_names": corpus.repeated_names,
            "candidates": dict(statuses),
            "fewest_negatives": fewest_negatives,
            "duration_s": round(duration_s, 3),
            "videos_per_s": round(len(video_ids) / duration_s, 3),
        }
        artifact = draft.publish(report)
    return Outcome(artifact, made=True, work={"videos_mined": len(video_ids)})


def read_corpus(texts: Sequence[Artifact]) -> Corpus:
    """The class prompts of several text embeddings, each name once."""
    rows: list[dict[str, Any]] = []
    vectors: list[npt.NDArray[np.float32]] = []
    seen: set[str] = set()
    repeated = 0
    for number, artifact in enumerate(texts):
        table = artifact.read()
        table = table.filter(pc.equal(table["source"], "prompt"))
        embedding = read_tensor(table, "embedding")
        for row, vector in zip(
            table.select(["text_id", "class_id", "name"]).to_pylist(), embedding, strict=True
        ):
            if number and normalised(row["name"]) in seen:
                repeated += 1
                continue
            seen.add(normalised(row["name"]))
            rows.append(row if number == 0 else row | {"class_id": None})
            vectors.append(vector)
    return Corpus(rows, np.stack(vectors), repeated)


def video_embeddings(
    frames: Artifact, wanted: dict[str, Any]
) -> tuple[list[str], npt.NDArray[np.float32], int]:
    """Ids and unit rows norm(mean_t norm(CLIP(x_t))) of the wanted, readable videos.

    Returns:
        Video ids (N), embeddings (N, D), and the number of wanted videos without frames.
    """
    table = frames.read(["video_id", "status", "embedding"])
    keep = [
        i
        for i, (video_id, status) in enumerate(
            zip(table["video_id"].to_pylist(), table["status"].to_pylist(), strict=True)
        )
        if status == "ok" and video_id in wanted
    ]
    table = table.take(pa.array(keep, pa.int64()))
    mean_ND = read_tensor(table, "embedding").astype(np.float32).mean(axis=1)
    z_ND = mean_ND / np.linalg.norm(mean_ND, axis=1, keepdims=True)
    return table["video_id"].to_pylist(), z_ND, len(wanted) - len(keep)


class _Judge:
    """Decides per true class which texts must not become negatives, and why."""

    def __init__(
        self, corpus: Corpus, config: MiningConfig, votes: dict[tuple[int, int], int]
    ) -> None:
        self.corpus, self.config, self.votes = corpus, config, votes
        self.own: dict[int, int] = {
            row["class_id"]: i for i, row in enumerate(corpus.rows) if row["class_id"] is not None
        }
        self.names = [normalised(row["name"]) for row in corpus.rows]
        self._cache: dict[int, dict[int, tuple[str, str]]] = {}

    def banned(self, class_ids: Sequence[int]) -> dict[int, tuple[str, str]]:
        """Text index -> (status, reason) for a video of these classes; own classes win."""
        merged: dict[int, tuple[str, str]] = {}
        for class_id in class_ids:
            for index, verdict in self._of_class(class_id).items():
                if index not in merged or verdict[0] == "own_class":
                    merged[index] = verdict
        return merged

    def votes_of(self, class_ids: Sequence[int], index: int) -> int | None:
        """Most rounds in which a true class was named together with the text's class."""
        other = self.corpus.rows[index]["class_id"]
        if other is None or not self.votes:
            return None
        return max(self.votes.get((class_id, other), 0) for class_id in class_ids)

    def _of_class(self, class_id: int) -> dict[int, tuple[str, str]]:
        if class_id not in self._cache:
            own = self.own[class_id]
            name = self.corpus.rows[own]["name"]
            found = {own: ("own_class", f"is {name!r}")}
            cosines = self.corpus.embedding @ self.corpus.embedding[own]
            for index, row in enumerate(self.corpus.rows):
                if row["class_id"] is not None:
                    continue
                if cosines[index] > self.config.synonym_cosine:
                    found[index] = ("synonym", f"text cosine {cosines[index]:.3f} to {name!r}")
                elif self.names[index] == self.names[own]:
                    found[index] = ("synonym", f"same name as {name!r}")
            limit = self.config.max_cooccurrence_votes
            for (one, other_id), count in self.votes.items():
                if one == class_id and other_id in self.own and limit is not None and count > limit:
                    verdict = ("cooccurring", f"{count} rounds name it with {name!r}")
                    found.setdefault(self.own[other_id], verdict)
            self._cache[class_id] = found
        return self._cache[class_id]


def _ranked(
    video_ids: list[str],
    z_ND: npt.NDArray[np.float32],
    labels: dict[str, list[int]],
    corpus: Corpus,
    judge: _Judge,
    k: int,
) -> Iterator[dict[str, Any]]:
    """Rows of all videos by falling cosine.

    Ranked twice, among all texts and among the dataset's own classes, because training may use
    either; a row that is among the first k of one ranking only has no rank in the other.
    """
    banned = [judge.banned(labels[video_id]) for video_id in video_ids]
    num_own = len(judge.own)  # the dataset's texts come first
    everywhere = _nearest(z_ND, corpus.embedding, banned, k)
    among_own = _nearest(z_ND, corpus.embedding[:num_own], banned, k)
    for i, video_id in enumerate(video_ids):
        own = [judge.own[class_id] for class_id in labels[video_id]]
        own_cosine = float((corpus.embedding[own] @ z_ND[i]).max())
        cosines = everywhere[i].cosines | among_own[i].cosines
        for index in sorted(cosines, key=lambda index: (-cosines[index], index)):
            status, reason = banned[i].get(index, ("kept", None))
            yield {
                "video_id": video_id,
                "rank": everywhere[i].ranks.get(index),
                "dataset_rank": among_own[i].ranks.get(index),
                **corpus.rows[index],
                "cosine": cosines[index],
                "margin": own_cosine - cosines[index],
                "cooccurrence_votes": judge.votes_of(labels[video_id], index),
                "status": status,
                "reason": reason,
            }


@dataclass(frozen=True)
class _Neighbours:
    """A video's nearest texts by index: cosines of all that were met, ranks of those kept."""

    cosines: dict[int, float]
    ranks: dict[int, int]


def _nearest(
    z_ND: npt.NDArray[np.float32],
    texts_MD: npt.NDArray[np.float32],
    banned: list[dict[int, tuple[str, str]]],
    k: int,
) -> list[_Neighbours]:
    """Per video the first k texts that are not banned, and the banned ones met on the way."""
    from knowledge.nearest import top_k

    found = []
    ids_NK, cosines_NK = top_k(z_ND, texts_MD, k + max(len(each) for each in banned))
    for refused, ids, cosines in zip(banned, ids_NK.tolist(), cosines_NK.tolist(), strict=True):
        neighbours = _Neighbours({}, {})
        for index, cosine in zip(ids, cosines, strict=True):
            if len(neighbours.ranks) == k:
                break
            neighbours.cosines[index] = cosine
            if index not in refused:
                neighbours.ranks[index] = len(neighbours.ranks) + 1
        found.append(neighbours)
    return found


def _votes(cooccurrence: Artifact | None) -> dict[tuple[int, int], int]:
    if cooccurrence is None:
        return {}
    table = cooccurrence.read(["class_id", "other_id", "votes"])
    return {(row["class_id"], row["other_id"]): row["votes"] for row in table.to_pylist()}


def _check(
    videos: Artifact,
    frames: Artifact,
    texts: Sequence[Artifact],
    cooccurrence: Artifact | None,
    config: MiningConfig,
) -> None:
    inputs, remedy = videos.manifest.inputs, "run `actionlore mine` to make it anew"
    if frames.manifest.inputs["videos"].content_hash != videos.manifest.content_hash:
        raise ValueError(f"{frames.ref} was made from other videos than {videos.ref}; {remedy}")
    if not texts or texts[0].manifest.inputs["classes"] != inputs["classes"]:
        raise ValueError(f"the first texts must be of the classes of {videos.ref}; {remedy}")
    for artifact in texts:
        if artifact.manifest.config["clip"] != frames.manifest.config["clip"]:
            raise ValueError(
                f"{artifact.ref} and {frames.ref} are of different CLIP models; {remedy}"
            )
    if config.max_cooccurrence_votes is not None and cooccurrence is None:
        raise ValueError("max_cooccurrence_votes has no effect without a co-occurrence artifact")
    if cooccurrence and cooccurrence.manifest.inputs["classes"] != inputs["classes"]:
        raise ValueError(f"{cooccurrence.ref} is of other classes than {videos.ref}; {remedy}")
