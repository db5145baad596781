"""Few-shot episodes of a split: drawn once, published, and read as arrays.

Legend: E episodes, N ways, S shots, Q queries per class, V different videos.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from training.config.episodes import EpisodesConfig
from training.data.order import Ints


@dataclass(frozen=True, eq=False)
class Episodes:
    """Episodes as positions in a list of videos; way n has the same class in both arrays."""

    video_ids: tuple[str, ...]
    """The V videos that occur."""
    class_ids_EN: torch.Tensor
    """Rising within an episode."""
    support_ENS: torch.Tensor
    query_ENQ: torch.Tensor


def draw_episodes(
    store: Store, videos: Artifact, config: EpisodesConfig, name: str | None = None
) -> Outcome:
    """Draw N classes for each episode, and K support and Q query videos of each of them.

    All draws are without replacement within an episode, so no query is a support video. They depend
    on (seed, episode) and on the ids of the split's usable videos, not on the order of rows.

    Args:
        store: where to look and publish.
        videos: the `videos` artifact.
        config: how many of what.
        name: of the artifact; the dataset's with split, ways and shots when None.

    Returns:
        `episodes`, by episode, support before query.

    Raises:
        ValueError: too few classes in the split, or too few usable videos in one of them.
    """
    provenance = Provenance(
        kind="episodes",
        name=name or f"{videos.manifest.name}-{config.split}-{config.ways}way-{config.shots}shot",
        config=config.model_dump(mode="json"),
        inputs=dict(inputs_of(videos=videos)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    pool = _usable_videos(videos, config.split)
    _check_enough(store, videos, config, pool)
    draws = [_draw(config, episode, pool) for episode in range(config.num_episodes)]
    report = {
        "episodes": config.num_episodes,
        "classes": len(pool.by_class),
        "videos": len(pool.video_ids),
        "videos_left_out": dict(pool.left_out),
    }
    return Outcome(store.publish(provenance, _table(config, pool, draws), report), made=True)


def read_episodes(episodes: Artifact) -> Episodes:
    """The episodes as arrays; rows are joined by id, their order does not matter.

    Raises:
        CorruptArtifactError: a file is damaged.
    """
    config = EpisodesConfig.model_validate(episodes.manifest.config)
    order = [("episode", "ascending"), ("role", "descending")]  # support, query
    order += [("class_id", "ascending"), ("video_id", "ascending")]
    table = episodes.read().sort_by(order)
    ids = table["video_id"].combine_chunks().dictionary_encode()
    E, N, S, Q = config.num_episodes, config.ways, config.shots, config.queries
    index_EX = torch.tensor(np.asarray(ids.indices), dtype=torch.long).view(E, N * (S + Q))
    class_ids_EX = torch.tensor(np.asarray(table["class_id"]), dtype=torch.long).view(E, -1)
    return Episodes(
        video_ids=tuple(ids.dictionary.to_pylist()),
        class_ids_EN=class_ids_EX[:, : N * S : S],
        support_ENS=index_EX[:, : N * S].reshape(E, N, S),
        query_ENQ=index_EX[:, N * S :].reshape(E, N, Q),
    )


@dataclass(frozen=True, eq=False)
class _Pool:
    """What is drawn from."""

    video_ids: list[str]
    """Usable ones, sorted."""
    by_class: dict[int, Ints]
    """Positions in `video_ids`, by rising class id; empty where no video of a class is usable."""
    left_out: Counter[str]
    """Videos of the split that are not drawn, by reason."""


def _usable_videos(videos: Artifact, split: str) -> _Pool:
    table = videos.read(["video_id", "split", "class_ids", "status"])
    rows = table.filter(pc.equal(table["split"], split)).to_pylist()
    left_out = Counter[str]()
    members: dict[int, list[str]] = {}
    for row in rows:
        if len(row["class_ids"]) != 1:
            left_out["not of one class"] += 1
            continue
        of_class = members.setdefault(row["class_ids"][0], [])
        if row["status"] == "ok":
            of_class.append(row["video_id"])
        else:
            left_out[row["status"]] += 1
    video_ids = sorted(video_id for each in members.values() for video_id in each)
    position = {video_id: i for i, video_id in enumerate(video_ids)}
    by_class = {
        class_id: np.array(sorted(position[each] for each in members[class_id]), np.int64)
        for class_id in sorted(members)
    }
    return _Pool(video_ids, by_class, left_out)


def _check_enough(store: Store, videos: Artifact, config: EpisodesConfig, pool: _Pool) -> None:
    where = f"split {config.split!r} of {videos.ref}"
    if len(pool.by_class) < config.ways:
        raise ValueError(
            f"{where} has videos of {len(pool.by_class)} classes, fewer than ways={config.ways}; "
            "give a smaller --ways, or another --split"
        )
    wanted = config.shots + config.queries
    class_id, found = min(pool.by_class.items(), key=lambda each: len(each[1]))
    if len(found) < wanted:
        classes = store.get(videos.manifest.inputs["classes"].ref).read(["class_id", "name"])
        name = dict(zip(*classes.to_pydict().values(), strict=True)).get(class_id, "unknown")
        raise ValueError(
            f"{where} has {len(found)} usable videos of class {class_id} ({name!r}), fewer than "
            f"shots + queries = {config.shots} + {config.queries}; give smaller --shots or "
            "--queries, or register the dataset without that class"
        )


def _draw(config: EpisodesConfig, episode: int, pool: _Pool) -> tuple[list[int], Ints]:
    """Class ids (N,), and positions of their videos (N, S + Q), support first."""
    rng = np.random.default_rng([config.seed, episode])
    classes = list(pool.by_class)
    ways = [classes[i] for i in rng.permutation(len(classes))[: config.ways].tolist()]
    count = config.shots + config.queries
    return ways, np.stack([rng.permutation(pool.by_class[each])[:count] for each in ways])


def _table(
    config: EpisodesConfig, pool: _Pool, draws: Sequence[tuple[list[int], Ints]]
) -> pa.Table:
    S, Q = config.shots, config.queries
    class_ids_EN = np.array([ways for ways, _ in draws], np.int32)
    slots_ENX = np.stack([slots for _, slots in draws])
    E, N, _ = slots_ENX.shape
    support_EX, query_EX = (
        slots.reshape(E, -1) for slots in (slots_ENX[..., :S], slots_ENX[..., S:])
    )
    roles = np.repeat(["support", "query"], [N * S, N * Q])
    columns = {
        "episode": np.repeat(np.arange(E, dtype=np.int32), N * (S + Q)),
        "role": np.tile(roles, E),
        "class_id": np.hstack([class_ids_EN.repeat(S, axis=1), class_ids_EN.repeat(Q, axis=1)]),
    }
    arrays = [pa.array(column.ravel()) for column in columns.values()]
    arrays.append(
        pa.array(pool.video_ids).take(pa.array(np.hstack([support_EX, query_EX]).ravel()))
    )
    return pa.Table.from_arrays(arrays, schema=schema_of("episodes").arrow())
