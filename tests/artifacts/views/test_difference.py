"""What changed between two artifacts, against counting by hand."""

import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.views.difference import compare
from artifacts.views.negatives import candidates_by_status, nearest_negatives


@pytest.fixture
def publish(tmp_path):
    def publish(kind, rows, config, report=None, **inputs):
        schema = schema_of(kind)
        rows = [dict.fromkeys(schema.column_names) | row for row in rows]
        table = pa.Table.from_pylist(rows, schema=schema.arrow())
        made_from = dict(inputs_of(**inputs))
        provenance = Provenance(kind=kind, name="toy", config=config, inputs=made_from)
        return Store(tmp_path).publish(provenance, table, report)

    return publish


def ranked(videos):
    """Negatives of videos from the names of their texts, hardest first; None: own class."""
    rows = []
    for video_id, names in videos.items():
        rank = 0
        for i, name in enumerate(names):
            own = name is None
            rank += not own
            rows.append(
                {
                    "video_id": video_id,
                    "rank": None if own else rank,
                    "text_id": f"toy/{name}",
                    "name": name or "own",
                    "cosine": 0.5 - 0.1 * i,
                    "margin": 0.1 * i,
                    "status": "own_class" if own else "kept",
                }
            )
    return rows


def test_negatives_that_came_went_and_moved(publish):
    before = ranked({"v0": [None, "a", "b", "c"], "v1": ["a", "b", None], "gone": ["a"]})
    after = ranked({"v0": ["c", "a", None, "d"], "v1": ["a", "d"], "come": ["a"]})
    one = publish("negatives", before, {"top_k": 3})
    two = publish("negatives", after, {"top_k": 4}, one=one)
    found = compare(one, two, 10)
    assert found.facts == {
        "videos": "2 in both, 1 only before, 1 only after",
        "negatives of these videos": "5 before, 5 after",
        "hard no more": "2",
        "new": "2",
        "in both": "3, of which 2 moved",
        "mean rank change": "1.00",
    }
    gone = {"text": "b", "id": "toy/b", "videos": "2", "mean rank": "2.0"}
    come = {"text": "d", "id": "toy/d", "videos": "2", "mean rank": "2.5"}
    assert found.tables["texts that are hard no more"] == [gone]
    assert found.tables["texts that became hard"] == [come]
    assert found.tables["moved farthest"] == [
        {"video": "v0", "text": "c", "rank": "3 -> 1", "cosine": "0.200 -> 0.500"},
        {"video": "v0", "text": "a", "rank": "1 -> 2", "cosine": "0.400 -> 0.400"},
    ]
    assert found.tables["made differently"] == [
        {"what": "config top_k", "before": "3", "after": "4"},
        {"what": "input one", "before": "", "after": str(one.ref)},
    ]


def pairs(votes):
    facts = {"source": "llm", "rounds": 5, "count": 0}
    return [
        facts | {"class_id": a, "other_id": b, "votes": n, "selected": n > 2}
        for (a, b), n in votes.items()
    ]


def test_changed_pairs_by_name(publish):
    flags = {"group": "all", "is_base_75": True, "is_base_50": True}
    names = ["run", "sit", "wave"]

    def classes(order):
        rows = [flags | {"class_id": i, "name": n, "prompt_name": n} for i, n in enumerate(order)]
        return publish("classes", rows, {"order": order})

    one = publish(
        "cooccurrence", pairs({(0, 1): 5, (1, 0): 2, (0, 2): 1}), {}, classes=classes(names)
    )
    other = classes(names[::-1])
    two = publish("cooccurrence", pairs({(2, 1): 1, (1, 2): 2, (1, 0): 4}), {}, classes=other)
    found = compare(one, two, 10)
    assert found.facts == {
        "pairs": "3 before, 3 after, 3 changed",
        "selected no more": "1",
        "newly selected": "1",
    }
    assert found.tables["changed pairs"] == [
        {"class": "run", "co-occurs with": "sit", "votes": "5 -> 1", "selected": "yes -> no"},
        {"class": "sit", "co-occurs with": "wave", "votes": "none -> 4", "selected": "none -> yes"},
        {"class": "run", "co-occurs with": "wave", "votes": "1 -> none", "selected": "no -> none"},
    ]


def test_other_kinds_by_key_and_manifest(publish):
    def classes(names, **config):
        flags = {"group": "all", "is_base_75": True, "is_base_50": True}
        rows = [flags | {"class_id": i, "name": n, "prompt_name": n} for i, n in enumerate(names)]
        return publish("classes", rows, config)

    one, two = classes(["a", "b"], x={"y": 1}), classes(["a", "b", "c"], x={"y": 2})
    found = compare(one, two, 10)
    assert found.facts == {
        "rows": "2 before, 3 after",
        "by class_id": "0 gone, 1 new, 2 in both",
    }
    assert found.tables == {
        "made differently": [{"what": "config x y", "before": "1", "after": "2"}]
    }
    assert compare(one, one, 10).facts == {"content": "the same"}
    with pytest.raises(ValueError, match="of different kinds"):
        compare(one, publish("negatives", ranked({"v": ["a"]}), {}), 10)


def test_negatives_are_shown_for_people(publish):
    videos = {f"v{i}": ["a", None, "b", "c", "d"] for i in range(3)}
    counts = {"kept": 12, "own_class": 3, "min_margin": 15}
    made = publish("negatives", ranked(videos), {}, {"candidates": counts})
    assert candidates_by_status(made) == [
        {"status": "kept", "candidates": "12", "%": "40.0"},
        {"status": "own_class", "candidates": "3", "%": "10.0"},
        {"status": "min_margin", "candidates": "15", "%": "50.0"},
    ]
    line = {"own class": "own 0.400", "hardest negatives": "a 0.500, b 0.300, c 0.200"}
    assert nearest_negatives(made, 2) == [{"video": f"v{i}"} | line for i in range(2)]
