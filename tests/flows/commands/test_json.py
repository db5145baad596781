"""`--json`: one document on stdout, with the facts that the tables are made of."""

import json

import pytest

from artifacts.store import Store
from tests.flows.command_line import failed
from tests.published import classes, pairs, publish, ranked


@pytest.fixture
def made(tmp_path):
    """Artifacts of a store by a word for each."""
    store = Store(tmp_path / "store")
    known = publish(store, "classes", classes(["läuft", "sits"]))
    matrix = publish(store, "cooccurrence", pairs({(0, 1): 4, (1, 0): 2}), classes=known)
    counts = {"candidates": {"kept": 3, "own_class": 1}}
    before = publish(store, "negatives", ranked({"v": ["a", None, "b", "c"]}), {"k": 3}, counts)
    after = publish(
        store, "negatives", ranked({"v": ["a", None, "c", "b"]}), {"k": 4}, counts, matrix=matrix
    )
    return {"classes": known, "pairs": matrix, "before": before, "after": after}


@pytest.fixture
def printed(actionlore, tmp_path):
    def printed(*arguments):
        done = actionlore(*arguments, "--json")
        assert (done.exit_code, done.stderr) == (0, "")
        return json.loads(done.stdout)

    return printed


def line(artifact):
    manifest = artifact.manifest
    size = {"num_rows": manifest.num_rows, "created": manifest.created}
    return {"artifact": str(artifact.ref)} | size


def candidate(rank, name, cosine, status="kept"):
    unknown = dict.fromkeys(["dataset_rank", "class_id", "cooccurrence_votes", "reason"])
    facts = {"video_id": "v", "rank": rank, "text_id": f"toy/{name}", "name": name}
    return facts | unknown | {"cosine": cosine, "margin": 0.5 - cosine, "status": status}


def test_list_and_verify(printed, made):
    assert printed("inspect", "list", "cooccurrence") == {
        "rows": [line(made["pairs"])],
        "damaged": [],
    }
    all_of_them = [line(made[name]) for name in ("classes", "pairs", "before", "after")]
    assert printed("inspect", "list")["rows"] == all_of_them
    assert printed("inspect", "list", "metrics") == {"rows": [], "damaged": []}
    assert printed("inspect", "verify") == {"rows": all_of_them, "manifests_without_sha256": []}
    one = str(made["classes"].ref)
    assert printed("inspect", "verify", one)["rows"] == all_of_them[:1]


def test_damage_is_in_the_list_and_fails_verification(actionlore, printed, made):
    manifest = Store("store").directory(made["pairs"].ref) + "/manifest.json"
    with open(manifest, "a") as file:  # noqa: PTH123
        file.write("x")
    found = printed("inspect", "list")
    assert len(found["rows"]) == 3
    assert "cooccurrence/toy" in found["damaged"][0]
    done = actionlore("inspect", "verify", "--json")
    failed(done, "cooccurrence/toy")
    assert done.stdout == ""


def test_rows_of_any_kind(actionlore, printed, made):
    ref = str(made["classes"].ref)
    facts = {
        "artifact": ref,
        "num_rows": 2,
        "row": "a class",
        "config": {},
        "facts": {},
        "report": {},
    }
    expected = facts | {"rows": classes(["läuft", "sits"])}
    assert printed("inspect", ref) == printed("inspect", "show", "classes/toy") == expected
    assert printed("inspect", ref, "--limit", 1) == facts | {"rows": classes(["läuft"])}
    assert '"läuft"' in actionlore("inspect", ref, "--json").stdout


def test_pairs(printed, made):
    found = printed("inspect", "cooccurrence/toy")
    facts = {"mean_position": None, "count": 0, "source": "llm", "rounds": 5}
    run, sit = {"class_id": 0, "class_name": "läuft"}, {"other_id": 1, "other_name": "sits"}
    assert found["rows"][0] == facts | run | sit | {"votes": 4, "votes_back": 2, "selected": True}
    assert [row["votes"] for row in found["rows"]] == [4, 2]
    assert found["artifact"] == str(made["pairs"].ref)


def test_negatives_and_those_of_a_video(printed, made):
    ref = str(made["before"].ref)
    found = printed("inspect", ref)
    own = candidate(None, "own", 0.375, "own_class")
    others = [candidate(1, "a", 0.5), candidate(2, "b", 0.25), candidate(3, "c", 0.125)]
    assert found["rows"] == [{"video_id": "v", "own_class": own, "hardest": others}]
    assert found["candidates"] == [
        {"status": "kept", "num_candidates": 3, "share": 0.75},
        {"status": "own_class", "num_candidates": 1, "share": 0.25},
    ]
    assert found["config"] == {"k": 3}
    found = printed("inspect", ref, "--video", "v", "--limit", 3)
    assert found["rows"] == [others[0], own, others[1]]
    assert "candidates" not in found


def test_lineage(printed, made):
    after, matrix, known = (str(made[name].ref) for name in ("after", "pairs", "classes"))
    assert printed("inspect", "lineage", after) == {
        "artifact": after,
        "rows": [
            {"depth": 0, "role": None, "artifact": after, "num_rows": 4, "code": None},
            {"depth": 1, "role": "matrix", "artifact": matrix, "num_rows": 2, "code": None},
            {"depth": 2, "role": "classes", "artifact": known, "num_rows": 2, "code": None},
        ],
    }


def test_comparison(printed, made):
    before, after = str(made["before"].ref), str(made["after"].ref)
    found = printed("inspect", "compare", before, after)
    matrix = str(made["pairs"].ref)
    assert found["before"] == before
    assert found["after"] == after
    assert found["settings"] == [
        {"what": "config k", "before": 3, "after": 4, "found_in": "both"},
        {"what": "input matrix", "before": None, "after": matrix, "found_in": "after"},
    ]
    changes = found["changes"]
    assert changes["negatives"] == {"num_gone": 0, "num_new": 0, "num_both": 3}
    assert (changes["num_moved"], changes["mean_rank_change"]) == (2, pytest.approx(2 / 3))
    moved = {"video_id": "v", "text_id": "toy/b", "name": "b"}
    ranks = {"rank_before": 2, "rank_after": 3, "cosine_before": 0.25, "cosine_after": 0.125}
    assert changes["moved"][0] == moved | ranks
    assert printed("inspect", "compare", before, before)["changes"] is None


def test_what_is_no_number_is_null(printed, tmp_path):
    row = {"variant": "k2", "protocol": "mgdm/all", "metric": "top1", "mean": 0.5, "std": 0.0}
    values = [0.5, float("nan"), float("inf")]
    publish(Store(tmp_path / "store"), "comparison", [row | {"values": values}])
    assert printed("inspect", "comparison/toy")["rows"] == [row | {"values": [0.5, None, None]}]


def test_errors_leave_stdout_empty(actionlore, made):
    for given, words in {
        ("before", "--video", "none"): "has no video 'none'",
        ("classes", "--video", "v"): "is not a negatives artifact",
    }.items():
        done = actionlore("inspect", made[given[0]].ref, *given[1:], "--json")
        failed(done, words)
        assert done.stdout == ""


def test_recipes(printed):
    [found] = [row for row in printed("recipes")["rows"] if row["name"] == "mgdm_kinetics400_k7"]
    assert found["dataset"] == "kinetics400"
    assert 0.5 < found["expected_top1"] < 1
    assert found["hours"] > 1
    assert (found["start"], found["stages"], found["is_baseline"]) == (None, [], False)
    rows = {row["name"]: row for row in printed("recipes")["rows"]}
    assert [name for name, row in rows.items() if row["is_baseline"]]
    assert all(rows[row["start"]] for row in rows.values() if row["start"])
    assert {row["start"] for row in rows.values()} > {None}
    [stage] = rows["actionclip_stickworld_head_first"]["stages"]
    assert stage["model"]["name"] == "actionclip"
    small = rows["mgdm_small"]
    assert (small["dataset"], small["expected_top1"], small["hours"]) == (None, None, None)
