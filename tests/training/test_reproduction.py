"""Several seeds of several variants become one table of means and standard deviations."""

import numpy as np
import pyarrow as pa
import pytest

from artifacts.provenance import Provenance
from artifacts.schemas import schema_of
from artifacts.store import Store
from training.recipes import mgdm_variants, recipe
from training.reproduction import compare, markdown

VALUES = {"k0": [0.5, 0.6, 0.7], "no_discriminator": [0.4, 0.4, 0.4]}


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
        table = pa.Table.from_pylist(rows, schema=schema_of("metrics").arrow())
        config = {"variant": variant, "seed": seed}
        return store.publish(Provenance(kind="metrics", name=variant, config=config), table)

    return store, {
        variant: [metrics(variant, seed, value) for seed, value in enumerate(values)]
        for variant, values in VALUES.items()
    }


def test_mean_and_sample_standard_deviation(runs):
    store, members = runs
    outcome = compare(store, "x", members)
    rows = {
        (r["variant"], r["protocol"], r["metric"]): r for r in outcome.artifact.read().to_pylist()
    }
    row = rows["k0", "mgdm/all", "top1"]
    assert row["values"] == VALUES["k0"]
    assert row["mean"] == pytest.approx(np.mean(VALUES["k0"]))
    assert row["std"] == pytest.approx(np.std(VALUES["k0"], ddof=1))
    assert not compare(store, "x", members).made


def test_markdown_has_a_line_per_variant_and_the_papers_numbers(runs):
    store, members = runs
    text = markdown(compare(store, "x", members).artifact, {"k0": {"hmdb51": 0.79}})
    assert text.splitlines() == [
        "|  | top-1 % | top-5 % | paper, hmdb51 |",
        "| --- | --- | --- | --- |",
        "| frozen CLIP, prompt | 25.0 ± 0.0 | 25.0 ± 0.0 |  |",
        "| k0 | 60.0 ± 10.0 | 60.0 ± 10.0 | 79.0 |",
        "| no discriminator | 40.0 ± 0.0 | 40.0 ± 0.0 |  |",
    ]


def test_variants_need_equally_many_seeds(runs):
    store, members = runs
    with pytest.raises(ValueError, match="same number of seeds"):
        compare(store, "x", members | {"k0": members["k0"][:1]})


def test_every_variant_has_a_recipe_on_each_dataset():
    for variant in mgdm_variants():
        for dataset in ("stickworld", "kinetics400", "hmdb51", "ucf101"):
            assert recipe(f"mgdm_{dataset}_{variant}").dataset == dataset
