"""The demo world through the flows: the same everywhere, compared over seeds, and reported on."""

import pytest

from artifacts.store import Store
from flows.demo_report import partner_found, report
from knowledge.datasets.stickworld.generate import StickworldConfig

WORLD = StickworldConfig(train_per_class=1, val_per_class=0, test_per_class=1)


@pytest.fixture(scope="module")
def reproduced(server, tmp_path_factory):
    from flows.reproduce import ReproduceSpec, reproduce_flow

    root = tmp_path_factory.mktemp("reproduced")
    spec = ReproduceSpec(videos=root / "videos", world=WORLD, variants=("k0", "k3"), num_seeds=2)
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
