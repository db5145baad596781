"""Which neighbours of a video are hard negatives: nearest texts minus those true of it.

Source: MGDM, section 2.2, equations (10)-(12). Its softmax is monotone in the cosine, so exact
search by inner product gives the same order. `knowledge.mining.filters` says what rejects a
candidate, `knowledge.mining.candidates` searches. The videos are mined in parts, each of which is
stored when it is done and tells its own share of the report. Legend: N videos, R rows, K classes of
the dataset, C true classes of a video (-1: none).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from artifacts.artifact import Artifact, Outcome
from artifacts.draft import Draft, part_name
from artifacts.jobs import Progress, make_all
from artifacts.kinds import NEGATIVE_STATUS, schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.views.unusable import unusable
from knowledge.mining.candidates import Candidates, rank_candidates
from knowledge.mining.config import MiningConfig
from knowledge.mining.corpus import Corpus, read_corpus
from knowledge.mining.filters import Ints, NegativeFilter
from knowledge.mining.videos import MinedVideos, read_mined_videos

if TYPE_CHECKING:
    from knowledge.mining.inverted_lists import InvertedLists

VIDEOS_PER_PART = 4096
"""Rows of `frame_embeddings` per Parquet part of `negatives`."""

VIDEOS_PER_PASS = 1 << 15
"""Videos compared in one pass over the texts: some parts, which a crash may lose together."""

COUNTS = b"counts"
"""Metadata of each Parquet part: its share of the report, as JSON."""


@dataclass(frozen=True)
class MiningJob:
    """The `negatives` of a dataset's videos."""

    store: Store
    videos: Artifact
    """`videos` artifact: the videos and their classes."""
    frames: Artifact
    """Frame embeddings of these videos."""
    texts: tuple[Artifact, ...]
    """Text embeddings; the first must be of the dataset's own classes."""
    config: MiningConfig
    cooccurrence: Artifact | None = None
    """LLM votes on the dataset's class pairs, noted beside each negative."""
    device: str | None = None
    """Where exact search multiplies, which changes no result; a GPU if there is one when None."""
    videos_per_part: int = VIDEOS_PER_PART
    """The parts of one draft must be made with the same."""
    videos_per_pass: int = VIDEOS_PER_PASS

    @cached_property
    def provenance(self) -> Provenance:
        """Of inputs that belong together.

        Raises:
            ValueError: they do not, or a setting has no effect on them.
        """
        _check(self.videos, self.frames, self.texts, self.cooccurrence, self.config)
        roles = {f"texts_{i}": artifact for i, artifact in enumerate(self.texts)}
        named = {"videos": self.videos, "frames": self.frames, "cooccurrence": self.cooccurrence}
        inputs = dict(inputs_of(**named, **roles))
        if run := self.frames.manifest.inputs.get("run"):
            inputs["run"] = run
        return Provenance(
            kind="negatives",
            name=self.videos.manifest.name,
            config=self.config.model_dump(mode="json"),
            inputs=inputs,
        )

    @property
    def num_parts(self) -> int:
        """Depends on no machine and no runner, as parts of several runs must fit together."""
        return max(1, -(-self.frames.manifest.num_rows // self.videos_per_part))

    @cached_property
    def labels(self) -> dict[str, list[int]]:
        """Class ids of each video of the wanted splits.

        Raises:
            ValueError: there is none.
        """
        table = self.videos.read(["video_id", "split", "class_ids"])
        table = table.filter(pc.is_in(table["split"], pa.array(self.config.splits)))
        if not table.num_rows:
            raise ValueError(
                f"{self.videos.ref}: no usable video in split {', '.join(self.config.splits)}; "
                f'see `actionlore inspect show {self.videos.ref}`; `--filter splits=["test"]` '
                "mines for other splits"
            )
        ids, classes = table["video_id"].to_pylist(), table["class_ids"].to_pylist()
        return dict(zip(ids, classes, strict=True))

    @cached_property
    def corpus(self) -> Corpus:
        """The texts."""
        return read_corpus(self.texts, self.config.synonym_cosine)

    @cached_property
    def negative_filter(self) -> NegativeFilter:
        """Keeps or rejects candidates."""
        return NegativeFilter(self.corpus, self.config, _votes(self.cooccurrence, self.corpus))

    @cached_property
    def lists(self) -> InvertedLists | None:
        """The corpus divided for approximate search; every process that mines divides it anew."""
        if self.config.ivf is None:
            return None
        from knowledge.mining.inverted_lists import InvertedLists

        rows = np.concatenate([rows for _, rows in self.corpus.blocks()])
        return InvertedLists(rows, self.config.ivf, self.device)

    def make(
        self, draft: Draft, part_numbers: Sequence[int], progress: Progress | None = None
    ) -> Counter[str]:
        """Make those parts that the draft does not have; the work that took.

        Raises:
            ValueError: a video without class, or with one of which there is no text.
        """
        work = Counter(videos_mined=0)
        total, done = sum(len(self._rows(number)) for number in part_numbers), 0
        missing = []
        for number in part_numbers:
            if draft.has(number):
                done += len(self._rows(number))
            else:
                missing.append(number)
        for group in _groups(missing, max(1, self.videos_per_pass // self.videos_per_part)):
            for number, videos, candidates in self._candidates(group):
                draft.write(self._table(videos, candidates), number)
                work["videos_mined"] += len(videos)
                done += len(self._rows(number))
                if progress:
                    progress(done, total)
        return work

    def publish(self, draft: Draft, work: Counter[str], duration_s: float) -> Outcome:
        """Publish a draft that has all parts.

        Raises:
            ValueError: none of its videos could be mined.
        """
        counts = [
            json.loads(pq.read_schema(draft.directory / part_name(number)).metadata[COUNTS])
            for number in range(self.num_parts)
        ]
        num_videos = sum(each["videos"] for each in counts)
        if not num_videos:
            raise self._nothing()
        statuses = sum((Counter(each["candidates"]) for each in counts), Counter[str]())
        report = {
            "videos": num_videos,
            "videos_skipped": len(self.labels) - num_videos,
            "texts": len(self.corpus),
            "repeated_names": self.corpus.repeated_names,
            "candidates": {
                status: statuses[status] for status in NEGATIVE_STATUS if statuses[status]
            },
            "rejected_unlisted": sum(each["rejected_unlisted"] for each in counts),
            "fewest_negatives": min(each["fewest_negatives"] for each in counts if each["videos"]),
            "videos_short": sum(each["videos_short"] for each in counts),
            **self._recall(counts),
            "duration_s": round(duration_s, 3),
            "videos_per_s": round(work["videos_mined"] / duration_s, 3),
        }
        return Outcome(draft.publish(report), made=True, work=dict(work))

    def _rows(self, number: int) -> range:
        """Rows of `frame_embeddings` that a part is made of."""
        start = number * self.videos_per_part
        return range(start, min(start + self.videos_per_part, self.frames.manifest.num_rows))

    def _candidates(self, group: Sequence[int]) -> Iterator[tuple[int, MinedVideos, Candidates]]:
        """Videos and candidates of each part of a group, which is searched together."""
        try:
            parts = [
                read_mined_videos(self.frames, self._rows(number), self.labels, self.corpus)
                for number in group
            ]
        except ValueError as error:
            raise ValueError(f"{self.videos.ref}: {error}") from error
        found = rank_candidates(
            MinedVideos.joined(parts), self.corpus, self.negative_filter, self.lists, self.device
        )
        start = 0
        for number, videos in zip(group, parts, strict=True):
            yield number, videos, found.of_videos(start, start + len(videos))
            start += len(videos)

    def _table(self, videos: MinedVideos, candidates: Candidates) -> pa.Table:
        """A part, with what it adds to the report."""
        listed = nearest_rejected(candidates, self.config.max_rejected)
        kept_N = np.bincount(candidates.video[candidates.rank > 0], minlength=len(videos))
        statuses = np.bincount(candidates.code, minlength=len(NEGATIVE_STATUS))
        statuses += candidates.left_out_NS.sum(axis=0)
        counts = {
            "videos": len(videos),
            "candidates": dict(zip(NEGATIVE_STATUS, statuses.tolist(), strict=True)),
            "rejected_unlisted": int((~listed).sum() + candidates.left_out_NS.sum()),
            "fewest_negatives": int(kept_N.min(initial=self.config.top_k)),
            "videos_short": int((kept_N < self.config.top_k).sum()),
            **self._measured(videos),
        }
        rows = negatives_table(
            candidates, np.flatnonzero(listed), videos, self.corpus, self.negative_filter
        )
        return rows.replace_schema_metadata({COUNTS: json.dumps(counts).encode()})

    def _measured(self, videos: MinedVideos) -> dict[str, float]:
        """Recall of approximate search on a part's share of the sample."""
        if self.lists is None or not len(videos):
            return {}
        wanted = -(-self.lists.config.num_measured // self.num_parts)
        rng = np.random.default_rng(self.lists.config.seed)
        sample = np.sort(rng.permutation(len(videos))[:wanted])
        found = self.lists.recall(videos.embedding_ND[sample], self.config.top_k)
        return {"recall": found.recall, "num_measured": found.num_measured}

    def _recall(self, counts: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Mean recall of the parts by their measured videos."""
        measured = [each for each in counts if "recall" in each]
        if not measured:
            return {}
        total = sum(each["num_measured"] for each in measured)
        recall = sum(each["recall"] * each["num_measured"] for each in measured) / total
        return {"recall": round(recall, 6), "recall_k": self.config.top_k, "recall_videos": total}

    def _nothing(self) -> ValueError:
        table = self.frames.read(["video_id", "status", "reason"])
        wanted = pa.array(list(self.labels), pa.string())
        why = unusable(table.filter(pc.is_in(table["video_id"], wanted)))
        return ValueError(
            f"{self.videos.ref}: no usable video in split {', '.join(self.config.splits)}: {why}; "
            f"put the files right and register again"
        )


def mine(
    store: Store,
    videos: Artifact,
    frames: Artifact,
    texts: Sequence[Artifact],
    config: MiningConfig,
    cooccurrence: Artifact | None = None,
    progress: Progress | None = None,
) -> Outcome:
    """Rank the hard negatives of each video; finished parts survive a crash.

    Args:
        store: where to publish.
        videos: see `MiningJob`, as for the others.
        frames: likewise.
        texts: likewise.
        config: what counts as a negative.
        cooccurrence: likewise.
        progress: called with (done, total) videos.

    Raises:
        ValueError: inputs that do not belong together, or no video to mine for.
    """
    job = MiningJob(store, videos, frames, tuple(texts), config, cooccurrence)
    return make_all(job, progress)


def _groups(part_numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(part_numbers), size):
        yield part_numbers[start : start + size]


def nearest_rejected(candidates: Candidates, limit: int) -> npt.NDArray[np.bool_]:
    """Rows to store (R,): all that are kept, and the first rejected ones of each video."""
    rejected = candidates.code > 0
    count = np.cumsum(rejected)
    starts = np.searchsorted(candidates.video, candidates.video)
    before = np.where(starts > 0, count[starts - 1], 0) if len(count) else starts
    return np.asarray(~rejected | (count - before <= limit))


def negatives_table(
    candidates: Candidates,
    rows: Ints,
    mined: MinedVideos,
    corpus: Corpus,
    negative_filter: NegativeFilter,
) -> pa.Table:
    """The chosen rows of `negatives`."""
    video, text, cosine = candidates.video[rows], candidates.text[rows], candidates.cosine[rows]
    code, truth, own_cosine = (
        candidates.code[rows],
        mined.truth_NC[video],
        mined.own_cosine_N[video],
    )
    votes = negative_filter.votes(text, truth)
    columns = {
        "video_id": mined.video_ids.take(pa.array(video)),
        "rank": _ranks(candidates.rank[rows]),
        "dataset_rank": _ranks(candidates.dataset_rank[rows]),
        **{
            name: corpus.texts[name].take(pa.array(text))
            for name in ("text_id", "class_id", "name")
        },
        "cosine": pa.array(cosine.astype(np.float32)),
        "margin": pa.array((own_cosine - cosine).astype(np.float32)),
        "cooccurrence_votes": pa.nulls(len(rows), pa.int32())
        if votes is None
        else pa.array(votes, pa.int32(), mask=votes < 0),
        "status": pa.array(NEGATIVE_STATUS, pa.string()).take(pa.array(code)),
        "reason": negative_filter.reasons(
            code, text, cosine, truth, mined.own_N[video], own_cosine
        ),
    }
    return pa.table(columns, schema=schema_of("negatives").arrow())


def _ranks(ranks: npt.NDArray[np.int32]) -> pa.Array:
    return pa.array(ranks, pa.int32(), mask=ranks == 0)


def _votes(cooccurrence: Artifact | None, corpus: Corpus) -> Ints | None:
    """Rounds (K, K) that name a class pair, by position."""
    if cooccurrence is None:
        return None
    own = corpus.texts["class_id"].slice(0, corpus.num_own).combine_chunks()
    table = cooccurrence.read(["class_id", "other_id", "votes"])
    first, other = (
        pc.fill_null(pc.index_in(table[name], own), -1).to_numpy()
        for name in ("class_id", "other_id")
    )
    known = (first >= 0) & (other >= 0)
    votes_KK = np.zeros((corpus.num_own, corpus.num_own), np.int64)
    votes_KK[first[known], other[known]] = table["votes"].to_numpy()[known]
    return votes_KK


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
    if len(texts) == 1 and config.ivf is not None:
        raise ValueError(
            "ivf has no effect without a further corpus: classes of the dataset are searched "
            "exactly; give --corpus, or leave it out"
        )
    if len(texts) == 1 and config.synonym_cosine != MiningConfig().synonym_cosine:
        raise ValueError(
            f"synonym_cosine={config.synonym_cosine:g} has no effect without a further corpus: "
            "classes of the dataset are no synonyms; give --corpus, or leave it out"
        )
    if cooccurrence and cooccurrence.manifest.inputs["classes"] != inputs["classes"]:
        raise ValueError(f"{cooccurrence.ref} is of other classes than {videos.ref}; {remedy}")
