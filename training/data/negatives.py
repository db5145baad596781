"""Mined hard negatives, joined by id to the videos of a split.

Legend: N videos, M texts, D embedding, R texts per video (1 + k: its class's prompt first).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from training.config.method import MethodConfig
from training.config.negatives import NegativesConfig
from training.data.class_list import ClassList, text_features
from training.data.inputs import TrainInputs
from training.data.order import Ints
from training.data.video_set import VideoSet


@dataclass(frozen=True, eq=False)
class Negatives:
    """Texts of each video of a split, as rows of a table of features."""

    features_MD: torch.Tensor
    rows_NR: torch.Tensor
    class_ids_NR: torch.Tensor
    present_NR: torch.Tensor
    num_short: int
    """Videos with fewer than k negatives in the slice."""

    def columns(self, index_B: torch.Tensor) -> dict[str, torch.Tensor]:
        """Columns of a batch.

        Returns:
            `texts_BRD`, CLIP features, not normalised; `text_class_ids_BR`, -1 where the text is of
            no class of the dataset, or there is none; `text_present_BR`, False where a video has
            fewer negatives than R - 1, left out where all are present.
        """
        present_BR = self.present_NR[index_B]
        columns = {
            "texts_BRD": self.features_MD[self.rows_NR[index_B]],
            "text_class_ids_BR": self.class_ids_NR[index_B],
        }
        return columns if bool(present_BR.all()) else columns | {"text_present_BR": present_BR}

    @property
    def counts(self) -> dict[str, int]:
        """Videos whose negatives do not fill the slice."""
        return {"videos_short_of_negatives": self.num_short}


def read_negatives(
    inputs: TrainInputs, config: MethodConfig, videos: VideoSet, classes: ClassList
) -> Negatives:
    """The positive text of each video and its negatives, hardest first.

    The ranking is that of the corpus which the method's `mined` names; rejected candidates have no
    rank. A video with fewer negatives than the slice has gaps.

    Raises:
        ValueError: a negative without text embedding or of the video's own class, or a slice that
            no video fills.
    """
    wanted = config.mined
    shape = (len(videos), 1 + wanted.k)
    position = classes.positions(videos.class_ids_N)
    rows_NR = torch.zeros(shape, dtype=torch.long)
    rows_NR[:, 0] = position
    class_ids_NR = torch.full(shape, -1, dtype=torch.long)
    class_ids_NR[:, 0] = videos.class_ids_N
    present_NR = torch.zeros(shape, dtype=torch.bool)
    present_NR[:, 0] = True
    features_MD = classes.prompts_KD
    if wanted.k:
        text_ids, others_MD = _text_table(inputs, wanted)
        video_N, rank_N, text_N, class_N = _mined(inputs, wanted, videos, text_ids)
        slot = torch.from_numpy(rank_N - wanted.ranks[0] + 1)
        video = torch.from_numpy(video_N)
        rows_NR[video, slot] = torch.from_numpy(text_N) + len(features_MD)
        class_ids_NR[video, slot] = torch.from_numpy(class_N)
        present_NR[video, slot] = True
        features_MD = torch.cat([features_MD, others_MD])
    count_N = present_NR.sum(dim=1) - 1
    if wanted.k and (most := int(count_N.max())) < wanted.k:
        assert inputs.negatives is not None
        setting = config.setting(wanted)
        raise ValueError(
            f"{inputs.negatives.ref}: no training video has {wanted.k} negatives in ranks "
            f"{list(wanted.ranks)} (from 0) of corpus {wanted.corpus}, the most is {most}; "
            f"set {setting}.k={most}, or run `actionlore mine` with more corpora and "
            f"{setting}.corpus=union"
        )
    num_short = int((count_N < wanted.k).sum())
    return Negatives(features_MD, rows_NR, class_ids_NR, present_NR, num_short)


def _text_table(inputs: TrainInputs, wanted: NegativesConfig) -> tuple[pa.Array, torch.Tensor]:
    """Ids and features of all texts a negative may be."""
    artifacts = [inputs.texts, *(inputs.corpora if wanted.corpus == "union" else ())]
    tables = [artifact.read() for artifact in artifacts]
    text_ids = pa.concat_arrays([table["text_id"].combine_chunks() for table in tables])
    return text_ids, torch.cat([text_features(table) for table in tables])


def _mined(
    inputs: TrainInputs, wanted: NegativesConfig, videos: VideoSet, text_ids: pa.Array
) -> tuple[Ints, Ints, Ints, Ints]:
    """Video index, rank from 0, text row and class (-1: none) of each negative in the slice."""
    assert inputs.negatives is not None
    ranking = "dataset_rank" if wanted.corpus == "dataset" else "rank"
    table = inputs.negatives.read(["video_id", ranking, "text_id", "class_id"])
    keep = pc.is_in(table["video_id"], pa.array(videos.video_ids, pa.string()))
    keep = pc.and_(keep, pc.is_valid(table[ranking]))
    table = table.filter(keep).sort_by([("video_id", "ascending"), (ranking, "ascending")])
    video_N = _index_in(table["video_id"], pa.array(videos.video_ids, pa.string()))
    text_N = _index_in(table["text_id"], text_ids)
    class_N = pc.fill_null(table["class_id"], -1).to_numpy().astype(np.int64)
    lacking = np.flatnonzero(text_N < 0)
    if len(lacking):
        raise ValueError(
            f"{inputs.negatives.ref} names text {table['text_id'][int(lacking[0])].as_py()!r}, of "
            "which no text_embeddings are given; run `actionlore mine` again"
        )
    own = np.flatnonzero(class_N == videos.class_ids_N.numpy()[video_N])
    if len(own):
        video_id = videos.video_ids[int(video_N[own[0]])]
        raise ValueError(
            f"{inputs.negatives.ref}: video {video_id!r} has its own class {class_N[own[0]]} as a "
            "negative; run `actionlore mine` again"
        )
    rank_N = table[ranking].to_numpy().astype(np.int64) - 1
    first, stop = wanted.ranks
    chosen = (rank_N >= first) & (rank_N < stop)
    return video_N[chosen], rank_N[chosen], text_N[chosen], class_N[chosen]


def _index_in(values: pa.ChunkedArray, among: pa.Array) -> Ints:
    """Position of each value in `among`; -1: not there."""
    index = pc.fill_null(pc.index_in(values, value_set=among), -1).to_numpy()
    return np.asarray(index, np.int64)
