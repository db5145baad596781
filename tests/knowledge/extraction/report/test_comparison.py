"""Votes against ground truth: every figure is its definition."""

from statistics import fmean

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from knowledge.datasets.registration import register_classes
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.report.comparison import TOP, compare
from knowledge.extraction.report.ground_truth import Truth, truth_of_videos
from tests.class_rows import publish_videos


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


def average_ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def correlation(first, second):
    a, b = np.array(average_ranks(first)), np.array(average_ranks(second))
    if a.std() == 0 or b.std() == 0:
        return None
    return ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())


def literal_figures(rows, ids, counts, occurs):
    """The definitions, one class at a time: {figure: (votes, chance, popularity)}."""
    row = {(each["class_id"], each["other_id"]): each for each in rows}
    blank = {"votes": 0, "mean_position": None, "selected": False, "source": "llm"}
    others = {i: [j for j in ids if j != i] for i in ids}
    at = {(i, j): row.get((i, j), blank) for i in ids for j in others[i]}
    true = {i: {j for j in others[i] if counts[i, j] > 0} for i in ids}
    popular = {i: sorted(others[i], key=lambda j: (-occurs[j], j)) for i in ids}
    figures = {}
    for k in TOP:
        found = []
        for i in ids:
            named = sorted(
                (-at[i, j]["votes"], at[i, j]["mean_position"], j)
                for j in others[i]
                if at[i, j]["votes"]
            )[:k]
            if named and true[i]:
                hits = [sum(j in true[i] for *_, j in named) / len(named)]
                hits.append(len(true[i]) / len(others[i]))
                hits.append(sum(j in true[i] for j in popular[i][: len(named)]) / len(named))
                found.append(hits)
        figures[k] = [fmean(each) for each in zip(*found, strict=True)] or [None] * 3
    hits, chance, pop, total = 0, 0, 0, 0
    for i in ids:
        if any(each["source"] == "train" for each in rows if each["class_id"] == i):
            continue
        chosen = {j for j in others[i] if at[i, j]["selected"]}
        hits += len(chosen & true[i])
        chance += len(chosen) * len(true[i]) / len(others[i])
        pop += len({*popular[i][: len(chosen)]} & true[i])
        total += len(true[i])
    figures["recall"] = [each / total if total else None for each in (hits, chance, pop)]
    of_votes, of_popularity = [], []
    for i in ids:
        if true[i]:
            truth = [counts[i, j] for j in others[i]]
            of_votes.append(correlation([at[i, j]["votes"] for j in others[i]], truth))
            of_popularity.append(correlation([occurs[j] for j in others[i]], truth))
    defined = [[each for each in one if each is not None] for one in (of_votes, of_popularity)]
    means = [fmean(each) if each else None for each in defined]
    figures["rank"] = [means[0], 0, means[1]]
    return figures


def literal_lift(rows, ids, labels):
    """{figure: (votes, chance, popularity)}, counted in the videos, one class at a time."""
    videos = [{*video} for video in labels if video]
    occurs = {i: sum(i in video for video in videos) for i in ids}
    row = {(each["class_id"], each["other_id"]): each for each in rows}
    found = {"mean": ([], [], []), "above_one": ([], [], [])}
    correlations = ([], [])
    for i in ids:
        others = [j for j in ids if j != i and occurs[j]]
        both = {j: sum({i, j} <= video for video in videos) for j in others}
        if not any(both.values()):
            continue
        expected = {j: occurs[i] * occurs[j] / len(videos) for j in others}
        values = {
            "mean": {j: (both[j] + 0.5) / (expected[j] + 0.5) for j in others},
            "above_one": {j: float(both[j] > expected[j]) for j in others},
        }
        lift = list(values["mean"].values())
        votes = [row[i, j]["votes"] if (i, j) in row else 0 for j in others]
        correlations[0].append(correlation(votes, lift))
        correlations[1].append(correlation([occurs[j] for j in others], lift))
        if any(each["source"] == "train" for each in rows if each["class_id"] == i):
            continue
        chosen = [j for j in others if (i, j) in row and row[i, j]["selected"]]
        popular = sorted(others, key=lambda j: (-occurs[j], j))[: len(chosen)]
        for name, value in values.items():
            found[name][0].extend(value[j] for j in chosen)
            found[name][1].extend(fmean(value.values()) for _ in chosen)
            found[name][2].extend(value[j] for j in popular)
    figures = {name: [fmean(each) for each in lists] for name, lists in found.items()}
    votes, popular = ([each for each in one if each is not None] for one in correlations)
    figures["rank_correlation"] = [fmean(votes), 0, fmean(popular)]
    return figures


def drawn(store, draw, seed):
    """A `cooccurrence` artifact, its classes and rows."""
    size = int(draw.integers(11, 14))
    ids = sorted(int(each) for each in draw.choice(50, size, replace=False))
    listed = {"class_id": ids, "name": [f"a{i}" for i in ids], "group": "all"}
    classes = register_classes(store, f"random{seed}", pd.DataFrame(listed)).artifact
    rows = []
    for i in ids[: size - seed % 2]:  # sometimes a class without a vote
        for j in ids:
            votes, source = int(draw.integers(0, 4)), "llm"
            if i == ids[0]:
                source = "train"
            if i == j or draw.random() < 0.4:
                continue
            place = float(draw.integers(1, 4)) if votes else None
            selected = bool(draw.random() < 0.5)
            rows.append(
                {"class_id": i, "other_id": j, "source": source, "votes": votes, "rounds": 3}
                | {"mean_position": place, "count": 0, "selected": selected}
            )
    table = pa.Table.from_pylist(rows, schema=schema_of("cooccurrence").arrow())
    provenance = Provenance(
        kind="cooccurrence",
        name=f"random{seed}",
        config={"rows": rows},
        inputs=dict(inputs_of(classes=classes)),
    )
    return store.find(provenance) or store.publish(provenance, table), classes, rows


@pytest.mark.parametrize("seed", range(8))
def test_figures_are_the_definitions(store, seed):
    draw = np.random.default_rng(seed)
    artifact, classes, rows = drawn(store, draw, seed)
    ids = [each.class_id for each in read_action_classes(classes)]
    size = len(ids)
    counts = np.triu(draw.integers(0, 4, (size, size)) * (draw.random((size, size)) < 0.3), 1)
    counts[:, 3] = counts[3] = 0  # a class without a true partner
    counts += counts.T
    occurs = draw.integers(0, 5, size)
    found = compare(artifact, read_action_classes(classes), Truth("drawn", counts, occurs))
    expected = literal_figures(
        rows,
        ids,
        {(i, j): counts[a, b] for a, i in enumerate(ids) for b, j in enumerate(ids)},
        dict(zip(ids, occurs.tolist(), strict=True)),
    )
    scores = {**found.precision, "recall": found.recall, "rank": found.rank_correlation}
    assert scores.keys() == expected.keys()
    for name, score in scores.items():
        assert list(score.model_dump().values()) == pytest.approx(expected[name]), name
    assert found.lift is None
    assert found.true_pairs == (counts > 0).sum()
    assert found.classes == (counts > 0).any(axis=1).sum() < size


@pytest.mark.parametrize("seed", range(8))
def test_lift_is_its_definition(store, seed):
    draw = np.random.default_rng(seed)
    artifact, classes, rows = drawn(store, draw, seed)
    actions = read_action_classes(classes)
    ids = [each.class_id for each in actions]
    likely = draw.random(len(ids)) * 0.4
    likely[:2] = 0, 0.3  # one class is in no video
    labels = [[i for i, p in zip(ids, likely, strict=True) if draw.random() < p] for _ in range(30)]
    videos = publish_videos(store, classes, labels, name=f"random{seed}")
    found = compare(artifact, actions, truth_of_videos(videos, classes)).lift
    expected = literal_lift(rows, ids, labels)
    for name in ("mean", "above_one", "rank_correlation"):
        score = getattr(found, name)
        assert list(score.model_dump().values()) == pytest.approx(expected[name]), name


def test_votes_that_follow_popularity_alone_show_no_lift(store):
    """Where classes are independent, popular partners are mostly true and lift stays near 1."""
    draw = np.random.default_rng(0)
    artifact, classes, _ = drawn(store, draw, 0)
    actions = read_action_classes(classes)
    likely = np.linspace(0.05, 0.6, len(actions))
    labels = [
        [each.class_id for each, p in zip(actions, likely, strict=True) if draw.random() < p]
        for _ in range(3000)
    ]
    videos = publish_videos(store, classes, labels, name="independent")
    found = compare(artifact, actions, truth_of_videos(videos, classes))
    assert found.precision[3].popularity == 1
    assert found.rank_correlation.popularity > 0.95
    assert found.lift.mean.popularity == pytest.approx(1, abs=0.05)
    assert abs(found.lift.rank_correlation.popularity) < 0.3
