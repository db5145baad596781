"""The demo world through the flows: the same everywhere, compared over seeds, and reported on."""

import pytest

from artifacts.store import Store
from flows.demo_report import partner_found, report
from knowledge.datasets.stickworld.generate import StickworldConfig
from training.reproduction import markdown

WORLD = StickworldConfig(train_per_class=1, val_per_class=0, test_per_class=1)

SHORT = ("optim.epochs=8", "optim.warmup_epochs=1")


@pytest.fixture(scope="module")
def reproduced(server, tmp_path_factory):
    from flows.reproduce import ReproduceSpec, reproduce_flow

    root = tmp_path_factory.mktemp("reproduced")
    spec = ReproduceSpec(
        paper="mgdm",
        videos=root / "videos",
        world=WORLD,
        variants=("k0", "k3"),
        settings=SHORT,
        num_seeds=2,
        at_once=2,
    )
    return str(root / "artifacts"), reproduce_flow(str(root / "artifacts"), spec)


def test_two_runs_in_two_directories_agree_to_the_last_key(reproduced, tmp_path):
    from prefect import flow

    from flows.stickworld import mined_world

    again = flow(mined_world)(str(tmp_path / "artifacts"), tmp_path / "videos", WORLD)
    assert [each.ref for each in again] == [each.ref for each in reproduced[1]][: len(again)]
    assert all(each.made for each in again)


def test_every_variant_is_compared_over_all_seeds(reproduced):
    store, steps = reproduced
    rows = Store(store).get(steps[-1].ref).read().to_pylist()
    found = {(row["variant"], row["protocol"], row["metric"]): row["values"] for row in rows}
    assert all(len(values) == 2 for values in found.values())
    for variant in ("k0", "k3"):
        for metric in ("top1", "top5", "time_pairs", "posture_pairs"):
            assert (variant, "mgdm/all", metric) in found
    runs = [each.ref for each in steps if each.kind == "training_run"]
    assert len(set(runs)) == 4
    frozen = [found[v, "zero_shot/prompt", "top1"] for v in ("k0", "k3")]
    assert frozen[0] == frozen[1]


def test_unseen_classes_are_compared_in_a_table_of_their_own(server, tmp_path):
    from flows.reproduce import ReproduceSpec, reproduce_flow

    spec = ReproduceSpec(
        paper="actionclip",
        videos=tmp_path / "videos",
        world=WORLD,
        variants=("shots1",),
        zero_shot="meanp",
        settings=SHORT,
        num_seeds=1,
    )
    store = Store(tmp_path / "artifacts")
    *_, seen, unseen = reproduce_flow(str(tmp_path / "artifacts"), spec)
    table = markdown(store.get(seen.ref), {"shots1": {"ucf101": 0.5, "hmdb51": None}})
    assert table.splitlines()[0].endswith("| paper, ucf101 | paper, hmdb51 |")
    assert table.splitlines()[-1].startswith("| shots1 |")
    assert table.splitlines()[-1].endswith("| 50.0 |  |")
    lines = markdown(store.get(unseen.ref), {}).splitlines()
    titles = [line.split("|")[1].strip() for line in lines]
    assert titles[2:] == [
        "frozen CLIP, prompt",
        "meanp, trained on other classes",
    ]
    runs = {each.manifest.name: each for each in store.published("training_run")}
    trained = store.get(
        runs["stickworld-actionclip-meanp-base-seed0"].manifest.inputs["videos"].ref
    )
    metrics = store.get(next(iter(store.get(unseen.ref).manifest.inputs.values())).ref)
    predictions = store.get(metrics.manifest.inputs["predictions"].ref)
    scored = store.get(predictions.manifest.inputs["videos"].ref)
    names = [
        set(store.get(each.manifest.inputs["classes"].ref).read()["name"].to_pylist())
        for each in (trained, scored)
    ]
    assert not names[0] & names[1]
    assert [len(each) for each in names] == [27, 9]


def test_report_shows_accuracies_pairs_and_negatives(reproduced):
    store, steps = reproduced
    text = report(Store(store), steps)
    lines = text.splitlines()
    assert any(line.startswith("| frozen CLIP | zero_shot/prompt |") for line in lines)
    pairs = [line for line in lines if line.startswith("| open a door / close a door |")]
    assert len(pairs) == 1
    assert pairs[0].count("|") == 2 + 1 + 4
    assert f"--store {store}" in text
    assert 0.5 < partner_found(Store(store).get("negatives/stickworld")) <= 1.0
