"""Cost of judging candidates and building rows of `negatives`, without the search.

`python -m tests.benchmarks.mining [--videos N]` mines videos with random embeddings among 700 own
classes and 300 further texts (D = 512, top_k = 16, two filters) and prints, in CPU seconds of one
thread, the search alone, everything else as `knowledge.mining.job` does it, the same rows built as
a Python dictionary each, and their ratio. The limit is what writing the rows takes: converting
ready columns to Parquet.

Measured on two cores without GPU, which were busy with other work, so that the figures are upper
bounds: 20,000 videos (436,156 rows) search 1.1 s, ours 0.6 s, dictionaries 0.6 s, Parquet 0.2 s;
100,000 videos (2,181,158 rows) search 5.2 s, ours 2.5 s, dictionaries 3.6 s, Parquet 0.6 s. The
dictionaries are only converted here, not judged. Most of ours is the sorting that joins the two
rankings, of the videos of one pass at a time.
"""

from __future__ import annotations

import argparse
import io
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from artifacts.kinds import schema_of
from knowledge.mining import candidates as ranking
from knowledge.mining import job as mining
from knowledge.mining import nearest
from knowledge.mining.config import MiningConfig
from knowledge.mining.corpus import Corpus
from knowledge.mining.filters import NegativeFilter
from knowledge.mining.videos import MinedVideos

OWN, FURTHER, D = 700, 300, 512


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


class Further:
    """Further texts, held in memory."""

    def __init__(self, rows):
        self.rows = rows

    def blocks(self):
        yield self.rows


def parts(num_videos):
    rng = np.random.default_rng(0)
    texts = unit(rng.standard_normal((OWN + FURTHER, D)))
    names = [f"text {i}" for i in range(OWN + FURTHER)]
    position = np.where(np.arange(len(names)) < OWN, np.arange(len(names)), -1)
    table = pa.table(
        {
            "text_id": [f"corpus/{i}/prompt" for i in range(len(names))],
            "name": names,
            "class_id": pa.array(position, pa.int32(), mask=position < 0),
        }
    )
    empty = (np.zeros(0, np.int64), np.zeros(0))
    corpus = Corpus(table, texts[:OWN], position, 0, *empty, (Further(texts[OWN:]),))
    truth = rng.integers(OWN, size=num_videos)
    noise = rng.standard_normal((num_videos, D), np.float32)
    z_ND = unit(0.05 * noise + texts[truth])
    own_cosine = np.round(np.einsum("nd,nd->n", z_ND, texts[truth]).astype(float), 9)
    ids = pa.array([f"train/class/video_{i:06d}" for i in range(num_videos)])
    mined = MinedVideos(ids, z_ND, truth[:, None], truth, own_cosine)
    return mined, corpus


def cpu(function, *args):
    start = time.process_time()
    result = function(*args)
    return time.process_time() - start, result


def ours(mined, corpus, negative_filter):
    tables = []
    for start in range(0, len(mined), mining.VIDEOS_PER_PASS):
        videos = part(mined, start, mining.VIDEOS_PER_PASS)
        candidates = ranking.rank_candidates(videos, corpus, negative_filter)
        for first in range(0, len(videos), mining.VIDEOS_PER_PART):
            one = part(videos, first, mining.VIDEOS_PER_PART)
            found = candidates.of_videos(first, first + len(one))
            listed = mining.nearest_rejected(found, negative_filter.config.max_rejected)
            tables.append(
                mining.negatives_table(found, np.flatnonzero(listed), one, corpus, negative_filter)
            )
    return pa.concat_tables(tables)


def part(mined, start, count):
    rows = slice(start, start + count)
    return MinedVideos(
        mined.video_ids[rows],
        mined.embedding_ND[rows],
        mined.truth_NC[rows],
        mined.own_N[rows],
        mined.own_cosine_N[rows],
    )


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--videos", type=int, default=100_000)
    num_videos = parser.parse_args().videos
    torch.set_num_threads(1)
    mined, corpus = parts(num_videos)
    negative_filter = NegativeFilter(
        corpus, MiningConfig(max_relative_cosine=0.95, min_margin=0.01), None
    )
    width = negative_filter.config.top_k + ranking.SLACK

    def search():
        for blocks in (corpus.blocks(), [(0, corpus.own_KD)]):
            nearest.top_k_of_blocks(mined.embedding_ND, blocks, width)

    search_s, _ = cpu(search)
    all_s, table = cpu(ours, mined, corpus, negative_filter)
    few = table.slice(0, max(1, table.num_rows // 20))
    rows = few.to_pylist()
    schema = schema_of("negatives").arrow()
    dicts_s, _ = cpu(lambda: pa.Table.from_pylist([dict(row) for row in rows], schema=schema))
    dicts_s *= table.num_rows / few.num_rows
    write_s, _ = cpu(lambda: pq.write_table(table, io.BytesIO(), compression="zstd"))
    print(f"{num_videos} videos, {table.num_rows} rows, CPU seconds of one thread")
    print(f"search                         {search_s:8.1f}")
    print(f"judging and rows, ours         {all_s - search_s:8.1f}")
    print(f"rows from dictionaries alone   {dicts_s:8.1f}")
    print(f"limit: columns to Parquet      {write_s:8.1f}")
    print(f"dictionaries over ours         {dicts_s / (all_s - search_s):8.1f}")


if __name__ == "__main__":
    main()
