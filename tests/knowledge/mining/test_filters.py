"""Filters of mining equal their literal definition, and what they reject has a reason."""

import re
from collections import Counter

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.kinds import NEGATIVE_STATUS
from artifacts.tensors import read_tensor
from knowledge.datasets.class_names import normalised
from knowledge.mining import candidates as ranking
from knowledge.mining.config import MiningConfig, read_filters
from tests.knowledge.mining.world import rich_world, unit, world


def test_cooccurrence_votes_are_noted_and_can_reject(tmp_path):
    made = world(tmp_path, foreign=False)
    own = made.labels[0][0]
    other = (own + 1) % 12
    votes = made.publish_votes({(own, other): 4})
    noted = [r for r in made.mine(votes) if r["video_id"] == "v0" and r["class_id"] == other]
    assert [(r["status"], r["cooccurrence_votes"]) for r in noted] == [("kept", 4)]
    strict = made.mine(votes, max_cooccurrence_votes=3)
    rejected = [r for r in strict if r["video_id"] == "v0" and r["class_id"] == other]
    assert [r["status"] for r in rejected] == ["cooccurring"]
    with pytest.raises(ValueError, match="has no effect without a co-occurrence artifact"):
        made.mine(max_cooccurrence_votes=3)


def literal(made, config):
    """Rows by (video, text) of the definition in `MiningConfig`, one candidate at a time."""
    frames = read_tensor(made.frames.read(), "embedding").astype(np.float32)
    rows = []
    for artifact in made.texts:
        table = artifact.read()
        for row, vector in zip(table.to_pylist(), read_tensor(table, "embedding"), strict=True):
            names = {normalised(each["name"]) for each in rows if not each["described"]}
            described = row["source"] == "text" and row["class_id"] is not None
            if artifact is not made.texts[0]:
                if not described and normalised(row["name"]) in names:
                    continue
                row["class_id"] = next(
                    (
                        i
                        for i, own in enumerate(rows[:12])
                        if row["source"] == "text"
                        and normalised(own["name"]) == normalised(row["name"])
                    ),
                    None,
                )
            rows.append(row | {"vector": vector.astype(float), "described": described})
    found = {}
    for i, truth in enumerate(made.labels):
        z = unit(frames[i].mean(0)).astype(float)
        cosines = [float(np.clip(np.round(row["vector"] @ z, 9), -1, 1)) for row in rows]
        own = max(truth, key=lambda c: cosines[c])
        everywhere = literal_ranking(made, config, rows, range(len(rows)), cosines, truth, own)
        among_own = literal_ranking(made, config, rows, range(12), cosines, truth, own)
        merged = []
        for j in sorted({*everywhere, *among_own}, key=lambda j: (-cosines[j], j)):
            ranks = [ranking.get(j, (None, None))[1] for ranking in (everywhere, among_own)]
            status = (everywhere.get(j) or among_own[j])[0] if ranks == [None, None] else "kept"
            merged.append(
                (rows[j]["text_id"], status, *ranks, cosines[j], cosines[own] - cosines[j])
            )
        rejected = [row[0] for row in merged if row[1] != "kept"][config.max_rejected :]
        found[f"v{i}"] = [row for row in merged if row[0] not in rejected]
    return found


def literal_ranking(made, config, rows, among, cosines, truth, own):
    found, rank, kept = {}, 0, 0
    for j in sorted(among, key=lambda j: (-cosines[j], j)):
        row, cosine, margin = rows[j], cosines[j], round(cosines[own] - cosines[j], 9)
        like = max(round(float(row["vector"] @ rows[c]["vector"]), 9) for c in truth)
        together = max(made.votes.get((c, row["class_id"]), 0) for c in truth)
        limit = config.max_cooccurrence_votes
        if row["class_id"] in truth:
            status = "synonym" if j >= 12 else "own_class" if j == own else "true_class"
        elif j >= 12 and like > config.synonym_cosine:
            status = "synonym"
        elif limit is not None and together > limit:
            status = "cooccurring"
        else:
            rank += 1
            share = config.max_relative_cosine
            bound = cosines[own] - (1 - (share or 1)) * abs(cosines[own])
            tests = {
                "skip_ranks": rank <= config.skip_ranks,
                "max_rank": config.max_rank is not None and rank > config.max_rank,
                "min_cosine": config.min_cosine is not None and cosine < config.min_cosine,
                "max_margin": config.max_margin is not None and margin > config.max_margin,
                "max_cosine": config.max_cosine is not None and cosine > config.max_cosine,
                "min_margin": config.min_margin is not None and margin < config.min_margin,
                "max_relative_cosine": share is not None and cosine > round(bound, 9),
            }
            status = next((name for name, failed in tests.items() if failed), "kept")
        kept += status == "kept"
        found[j] = (status, kept if status == "kept" else None)
        if kept == config.top_k or status == "max_rank":
            break
        if config.min_cosine is not None and cosine < config.min_cosine:
            break
        if config.max_margin is not None and margin > config.max_margin:
            break
    return found


EVERYTHING = {
    "top_k": 3,
    "synonym_cosine": 0.8,
    "max_cooccurrence_votes": 3,
    "skip_ranks": 1,
    "max_rank": 7,
    "min_cosine": -0.35,
    "max_cosine": 0.8,
    "min_margin": 0.1,
    "max_margin": 1.0,
    "max_relative_cosine": 0.6,
    "max_rejected": 40,
}


def equal_to_the_literal_definition(made, config):
    found = made.mine(made.cooccurrence, **config.model_dump())
    expected = literal(made, config)
    for video_id, wanted in expected.items():
        rows = [row for row in found if row["video_id"] == video_id]
        seen = [(r["text_id"], r["status"], r["rank"], r["dataset_rank"]) for r in rows]
        assert seen == [row[:4] for row in wanted]
        np.testing.assert_allclose([r["cosine"] for r in rows], [r[4] for r in wanted], atol=1e-6)
        np.testing.assert_allclose([r["margin"] for r in rows], [r[5] for r in wanted], atol=1e-6)
    assert len(found) == sum(map(len, expected.values()))
    return found


def test_every_status_is_met_and_has_a_reason(tmp_path):
    made = rich_world(tmp_path, seed=3, videos=60)
    found = equal_to_the_literal_definition(made, MiningConfig(**EVERYTHING))
    assert {row["status"] for row in found} == set(NEGATIVE_STATUS)
    assert len(NEGATIVE_STATUS) == 12
    words = {
        status: {r["reason"] for r in found if r["status"] == status} for status in NEGATIVE_STATUS
    }
    assert words.pop("kept") == {None}
    patterns = {
        "own_class": r"is action [a-l]",
        "true_class": r"is action [a-l]",
        "synonym": r"(text cosine (0\.\d+|1) to|same name as) action [a-l]",
        "cooccurring": r"[45] rounds name it with a true class",
        "skip_ranks": r"among the nearest 1",
        "max_rank": r"after the nearest 7",
        "min_cosine": r"cosine -[\d.]+ is below -0\.35",
        "max_margin": r"margin 1\.\d+ is above 1",
        "max_cosine": r"cosine 0\.\d+ is above 0\.8",
        "min_margin": r"margin -?[\d.e-]+ is below 0\.1",
        "max_relative_cosine": r"cosine -?[\d.e-]+ is above 0\.6 of -?[\d.e-]+",
    }
    for status, pattern in patterns.items():
        assert all(re.fullmatch(pattern, each) for each in words[status]), (status, words[status])
    report = made.store.get("negatives/toy").manifest.report
    assert report["candidates"] == dict(Counter(row["status"] for row in found))
    assert report["rejected_unlisted"] == 0


@pytest.fixture(scope="module")
def rich_worlds(tmp_path_factory):
    return [rich_world(tmp_path_factory.mktemp("worlds") / str(seed), seed) for seed in range(3)]


bound = st.floats(-0.5, 0.9).map(lambda value: round(value, 2))


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.integers(0, 2),
    st.fixed_dictionaries(
        {
            "top_k": st.integers(1, 20),
            "skip_ranks": st.integers(0, 4),
            "max_rejected": st.integers(0, 9),
        },
        optional={
            "min_cosine": bound,
            "max_cosine": bound,
            "min_margin": bound,
            "max_margin": bound.map(abs),
            "max_relative_cosine": st.sampled_from([0.5, 0.95, 1.0]),
            "max_cooccurrence_votes": st.integers(0, 5),
            "synonym_cosine": st.sampled_from([0.3, 0.9]),
        },
    ),
    st.integers(1, 3),
)
def test_any_filters_equal_the_literal_definition(rich_worlds, seed, values, slack):
    """Whatever is fetched at first: a small slack makes the search grow."""
    try:
        config = MiningConfig(**values)
    except ValidationError:
        assume(False)
    made = rich_worlds[seed]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ranking, "SLACK", slack)
        patch.setattr(ranking, "FILTERED", 64)
        equal_to_the_literal_definition(made, config)


def test_rejected_candidates_are_bounded_per_video_and_all_are_counted(tmp_path):
    made = rich_world(tmp_path)
    everything = made.mine(max_cosine=0.3, max_rejected=50)
    few = made.mine(max_cosine=0.3, max_rejected=2)
    reports = [
        made.store.get(f"negatives/toy@{item.manifest.key[:16]}").manifest.report
        for item in made.store.published("negatives")
    ]
    assert reports[0]["candidates"] == reports[1]["candidates"]
    assert reports[0]["rejected_unlisted"] == 0
    assert reports[1]["rejected_unlisted"] == len(everything) - len(few) > 0
    for i in range(len(made.labels)):
        rows = [row for row in everything if row["video_id"] == f"v{i}"]
        kept = [row for row in rows if row["status"] == "kept"]
        rejected = [row for row in rows if row["status"] != "kept"][:2]
        expected = sorted(kept + rejected, key=lambda row: rows.index(row))
        assert [row for row in few if row["video_id"] == f"v{i}"] == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"min_cosine": 0.5, "max_cosine": 0.5}, "min_cosine=0.5 and max_cosine=0.5 leave no"),
        ({"min_margin": 0.5, "max_margin": 0.1}, "min_margin=0.5 and max_margin=0.1 leave no"),
        ({"max_rank": 9}, r"max_rank=9 leaves 9 ranks after skip_ranks=0.*set top_k=9"),
        ({"max_rank": 3, "skip_ranks": 3}, r"leaves 0 ranks.*set skip_ranks below it"),
        ({"max_rank": 40}, r"max_rank=40 has no effect.*leave it out"),
        ({"splits": ()}, "splits"),
    ],
)
def test_settings_that_contradict_or_do_nothing_are_refused(values, message):
    with pytest.raises(ValidationError, match=message):
        MiningConfig(**values)


def test_filters_are_read_from_lines():
    values = read_filters(["min_margin=0.05", 'splits=["val"]'], "--filter")
    assert MiningConfig(**values) == MiningConfig(min_margin=0.05, splits=("val",))
    for line, message in {
        "margin=1": r"--filter 'margin=1': write NAME=VALUE, where NAME is one of top_k,",
        "min_margin": "write NAME=VALUE",
        "min_margin=low": "'low' is not JSON",
    }.items():
        with pytest.raises(ValueError, match=message):
            read_filters([line], "--filter")
    with pytest.raises(ValueError, match="top_k is given twice"):
        read_filters(["top_k=3", "top_k=4"], "--filter")


def test_a_synonym_cosine_without_further_corpus_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"synonym_cosine=0.5 has no effect without"):
        world(tmp_path, foreign=False).mine(synonym_cosine=0.5)
