"""Several seeds of several variants become one table of means and standard deviations."""

import numpy as np
import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from training.evaluation.comparison import compare, markdown
from training.evaluation.pairs import pair_accuracy
from training.models.mgdm.recipes import TABLE
from training.models.registry import recipe

PAIRS = {"time_pairs": [(1, 2)], "posture_pairs": [(3, 4)]}
VALUES = {"k0": [0.5, 0.6, 0.7], "no_discriminator": [0.4, 0.4, 0.4]}


PREDICTIONS = [
    {
        "protocol": protocol,
        "video_id": f"{true}-{ranked}",
        "class_ids": [true],
        "top_class_ids": ranked,
        "top_probabilities": [0.5, 0.5],
    }
    for protocol in ("mgdm", "mgdm/all", "zero_shot/prompt")
    for true, ranked in [(1, [1, 2]), (1, [2, 1]), (2, [3, 2]), (2, [3, 1]), (4, [4, 3])]
]
"""Of classes 1 and 2, two of four videos have their own class first; class 3 has no video."""


def published(store, kind, rows, config, inputs=None):
    table = pa.Table.from_pylist(rows, schema=schema_of(kind).arrow())
    origin = Provenance(kind=kind, name="x", config=config, inputs=dict(inputs or {}))
    return store.publish(origin, table)


@pytest.fixture
def runs(tmp_path):
    store = Store(tmp_path)

    def metrics(variant, seed, value):
        method = "mgdm" if variant.startswith("no_") else "mgdm/all"
        rows = [
            {
                "split": "test",
                "protocol": protocol,
                "metric": metric,
                "value": value if protocol == method else 0.25,
                "num_videos": 8,
            }
            for protocol in (method, "zero_shot/prompt")
            for metric in ("top1", "top5")
        ]
        config = {"variant": variant, "seed": seed}
        predictions = published(store, "predictions", PREDICTIONS, config)
        return published(store, "metrics", rows, config, inputs_of(predictions=predictions))

    return store, {
        variant: [metrics(variant, seed, value) for seed, value in enumerate(values)]
        for variant, values in VALUES.items()
    }


def test_mean_and_sample_standard_deviation(runs):
    store, members = runs
    outcome = compare(store, "x", members, PAIRS)
    rows = {
        (r["variant"], r["protocol"], r["metric"]): r for r in outcome.artifact.read().to_pylist()
    }
    row = rows["k0", "mgdm/all", "top1"]
    assert row["values"] == VALUES["k0"]
    assert row["mean"] == pytest.approx(np.mean(VALUES["k0"]))
    assert row["std"] == pytest.approx(np.std(VALUES["k0"], ddof=1))
    assert not compare(store, "x", members, PAIRS).made


def test_markdown_has_a_line_per_variant_and_the_papers_numbers(runs):
    store, members = runs
    text = markdown(compare(store, "x", members, PAIRS).artifact, {"k0": {"hmdb51": 0.79}})
    assert text.splitlines() == [
        "|  | top-1 % | top-5 % | time pairs % | posture pairs % | paper, hmdb51 |",
        "| --- | --- | --- | --- | --- | --- |",
        "| frozen CLIP, prompt | 25.0 ± 0.0 | 25.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 |  |",
        "| k0 | 60.0 ± 10.0 | 60.0 ± 10.0 | 50.0 ± 0.0 | 100.0 ± 0.0 | 79.0 |",
        "| no discriminator | 40.0 ± 0.0 | 40.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 |  |",
    ]


def test_a_pair_is_told_apart_where_the_own_class_comes_first(runs):
    store, _ = runs
    predictions = store.get("predictions/x")
    assert pair_accuracy(predictions, [(2, 1)])["mgdm"] == {(2, 1): 0.5}
    assert pair_accuracy(predictions, [(3, 4), (5, 6)])["mgdm"] == {(3, 4): 1.0}


def test_variants_need_equally_many_seeds(runs):
    store, members = runs
    with pytest.raises(ValueError, match="same number of seeds"):
        compare(store, "x", members | {"k0": members["k0"][:1]}, PAIRS)


def test_every_variant_has_a_recipe_on_each_dataset():
    for variant in TABLE.variants:
        for dataset in ("stickworld", "kinetics400", "hmdb51", "ucf101"):
            assert recipe(f"mgdm_{dataset}_{variant}").dataset == dataset
