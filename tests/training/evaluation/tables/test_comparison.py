"""Several seeds, splits or draws of several variants become one table of means and deviations."""

import numpy as np
import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from flows.terminal.comparison import markdown
from tests.published import classes, publish
from training.evaluation.tables.base_to_novel import compare_base_to_novel
from training.evaluation.tables.comparison import compare
from training.evaluation.tables.pairs import pair_accuracy
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


def test_a_pair_is_told_apart_where_the_own_class_comes_first(runs):
    store, _ = runs
    predictions = store.get("predictions/x")
    assert pair_accuracy(predictions, [(2, 1)])["mgdm"] == {(2, 1): 0.5}
    assert pair_accuracy(predictions, [(3, 4), (5, 6)])["mgdm"] == {(3, 4): 1.0}


def test_variants_need_equally_many_seeds(runs):
    store, members = runs
    with pytest.raises(ValueError, match="same number of seeds"):
        compare(store, "x", members | {"k0": members["k0"][:1]}, PAIRS)
    with pytest.raises(ValueError, match="same number of seeds"):
        compare(store, "x", members, PAIRS, once=["k0"])


def test_what_comes_out_the_same_with_every_seed_has_one_run_and_no_deviation(runs):
    store, members = runs
    given = members | {"k0": members["k0"][:1]}
    made = compare(store, "x", given, PAIRS, once=["k0"]).artifact
    assert made.manifest.config["num_seeds"] == 3
    assert markdown(made, {}).splitlines()[2:] == [
        "| frozen CLIP, prompt | 25.0 ± 0.0 | 25.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 |",
        "| k0 | 50.0 ± - | 50.0 ± - | 50.0 ± - | 100.0 ± - |",
        "| no discriminator | 40.0 ± 0.0 | 40.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 |",
    ]
    alone = compare(store, "alone", {"k0": given["k0"]}, PAIRS, once=["k0"]).artifact
    assert "±" not in markdown(alone, {})


def test_only_metrics_are_compared_each_once(runs):
    store, members = runs
    predictions = store.get(members["k0"][0].manifest.inputs["predictions"].ref)
    with pytest.raises(ValueError, match=r"k0: predictions/x@\w+ is no metrics artifact"):
        compare(store, "y", {"k0": [predictions]}, {})
    with pytest.raises(ValueError, match=r"k0: metrics/x@\w+ is given twice"):
        compare(store, "y", {"k0": [members["k0"][0]] * 2}, {})


def test_a_protocol_that_one_run_lacks_is_named(runs):
    store, members = runs
    mixed = {"both": [members["k0"][0], members["no_discriminator"][0]]}
    with pytest.raises(
        ValueError, match=r"both: metrics/x@\w+ has no mgdm/all top1, which metrics"
    ):
        compare(store, "y", mixed, {})


def test_scores_that_make_no_table_together_are_refused(runs):
    store, members = runs
    value = {"split": "test", "protocol": "mgdm/all", "value": 0.5, "num_videos": 8}
    rows = [value | {"metric": metric} for metric in ("accuracy", "ci95")]
    episodes = published(store, "metrics", rows, {"of": "episodes"})
    apart = r"has top1, top5 and metrics/x@\w+ has accuracy, ci95, which makes no table; summarise"
    with pytest.raises(ValueError, match=apart):
        compare(store, "y", {"a": members["k0"][:1], "b": [episodes]}, {})
    with pytest.raises(ValueError, match=apart):
        compare(store, "y", {"a": [members["k0"][0], episodes]}, {})
    assert compare(store, "y", {"b": [episodes]}, {}).made


def scores(store, seed, classes=None, split="test", own=None, videos=None, **values):
    """`metrics` of a run of its own with these top-1, by protocol with _ for / and AT for @.

    The run was trained on the classes `own`; it is that of the first word of `seed`.
    """
    rows = [
        {
            "split": split,
            "protocol": protocol.replace("zero_shot_", "zero_shot/").replace("AT", "@"),
            "metric": "top1",
            "value": value,
            "num_videos": 8,
        }
        for protocol, value in values.items()
    ]
    config = {"seed": seed}
    trained_on = inputs_of(classes=own) if own else {}
    run = published(store, "training_run", [], {"run": seed.split()[0]}, trained_on)
    read = {"run": run, "classes": classes, "videos": videos}
    inputs = inputs_of(**{role: each for role, each in read.items() if each})
    predictions = published(store, "predictions", [], config, inputs)
    return published(store, "metrics", rows, config, inputs_of(predictions=predictions))


def test_harmonic_means_are_those_of_the_pairs(tmp_path):
    store = Store(tmp_path)
    both = {"zero_shot_prompt": 0.5}
    base = [scores(store, f"{i} base", clip=v, **both) for i, v in enumerate([0.75, 0.5, 0.0])]
    novel = [
        scores(store, f"{i} novel", clip=v, clipAT05=0.5, **both)
        for i, v in enumerate([0.25, 0.5, 0.0])
    ]
    outcome = compare_base_to_novel(store, "x", {"a": base}, {"a": novel})
    rows = {(row["protocol"], row["metric"]): row for row in outcome.artifact.read().to_pylist()}
    assert rows["clip", "base_top1"]["values"] == [0.75, 0.5, 0.0]
    assert rows["clip", "novel_top1"]["values"] == [0.25, 0.5, 0.0]
    assert rows["clip", "harmonic_mean"]["values"] == pytest.approx([0.375, 0.5, 0.0])
    assert rows["clip", "harmonic_mean"]["mean"] == pytest.approx(0.875 / 3)
    assert rows["clip", "harmonic_mean"]["std"] == pytest.approx(np.std([0.375, 0.5, 0], ddof=1))
    assert {protocol for protocol, _ in rows} == {"clip", "zero_shot/prompt"}
    report = outcome.artifact.manifest.report
    assert report["protocols_of_one_part"] == {"a": "clip@05"}
    assert not compare_base_to_novel(store, "x", {"a": base}, {"a": novel}).made


def test_base_and_novel_are_pairs(tmp_path):
    store = Store(tmp_path)
    base = [scores(store, f"{i} base", clip=0.5) for i in range(2)]
    novel = [scores(store, f"{i} novel", clip=0.5) for i in range(2)]
    other = [scores(store, "0 other", map=0.5), scores(store, "1 other", map=0.5)]
    for given, message in (
        ({"a": novel[:1]}, "a has 2 metrics of base classes and 1 of novel ones"),
        ({"b": novel}, "a is given for one of base and novel only"),
        (
            {"a": novel[::-1]},
            r"a: metrics/x@\w+ and metrics/x@\w+ are a pair and of different runs",
        ),
        ({"a": other}, "a: base has top1 of clip, novel of map; give metrics of the same"),
    ):
        with pytest.raises(ValueError, match=message):
            compare_base_to_novel(store, "x", {"a": base}, given)


def test_the_same_scores_are_not_base_and_novel(tmp_path):
    store = Store(tmp_path)
    base = [scores(store, "0 base", clip=0.5)]
    with pytest.raises(ValueError, match=r"a: metrics/x@\w+ is given as base and as novel"):
        compare_base_to_novel(store, "x", {"a": base}, {"a": base})


def test_novel_classes_are_no_base_classes(tmp_path):
    """By name: each list numbers its classes from 0."""
    store = Store(tmp_path)
    old, new, mixed = lists(store, ["run", "sit"], ["walk", "wave"], ["walk", "sit"])
    base = {"a": [scores(store, "0 base", old, clip=0.5)]}
    novel = {"a": [scores(store, "0 novel", mixed, clip=0.5)]}
    with pytest.raises(ValueError, match=r"a: .* both have the class 'sit', so it is not novel"):
        compare_base_to_novel(store, "x", base, novel)
    novel = {"a": [scores(store, "0 new", new, clip=0.5)]}
    assert compare_base_to_novel(store, "x", base, novel).made


def lists(store, *lists):
    return [publish(store, "classes", classes(names), {"names": names}) for names in lists]


def test_draws_are_of_one_split_and_no_run_is_there_twice(tmp_path):
    store = Store(tmp_path)
    first, second = (published(store, "videos", [], {"draw": i}) for i in range(2))
    test = scores(store, "0 test", videos=first, clip=0.5)
    val = scores(store, "0 val", videos=first, split="val", clip=0.6)
    wanted = (
        r"a: .* is of split test and metrics/x@\w+ of split val; give metrics of the same split"
    )
    with pytest.raises(ValueError, match=wanted):
        compare(store, "x", {"a": [test, val]}, {})
    views = scores(store, "0 views", videos=first, clip=0.6)
    twice = rf"a: {test.ref} and {views.ref} are both of training_run/x@\w+ on {first.ref}, no two"
    with pytest.raises(ValueError, match=twice):
        compare(store, "x", {"a": [test, views]}, {})
    assert compare(store, "variants", {"a": [test], "b": [views], "c": [val]}, {}).made
    other = scores(store, "0 other", videos=second, clip=0.6)
    assert compare(store, "draws", {"a": [test, other]}, {}).made


def test_few_shot_scores_are_of_one_split_and_no_run_is_there_twice(tmp_path):
    store = Store(tmp_path)
    videos, run = published(store, "videos", [], {}), published(store, "training_run", [], {})

    def few_shot(split, shots):
        row = {"split": split, "protocol": "ncm", "metric": "top1", "value": 0.5, "num_videos": 8}
        inputs = inputs_of(run=run, videos=videos)
        return published(store, "metrics", [row], {"split": split, "shots": shots}, inputs)

    with pytest.raises(ValueError, match="give metrics of the same split"):
        compare(store, "x", {"a": [few_shot("test", 1), few_shot("val", 1)]}, {})
    with pytest.raises(ValueError, match="no two draws; leave one out"):
        compare(store, "x", {"a": [few_shot("test", 1), few_shot("test", 5)]}, {})


def test_base_is_what_the_run_was_trained_on_and_novel_is_not(tmp_path):
    store = Store(tmp_path)
    old, new, mixed = lists(store, ["run", "sit"], ["walk", "wave"], ["wave", "hop"])
    one, two = (
        {"a": [scores(store, f"0 {each.ref}", each, own=old, clip=0.5)]} for each in (old, new)
    )
    with pytest.raises(ValueError, match=r"as base and has the class 'walk', which training_run/x"):
        compare_base_to_novel(store, "x", two, one)
    assert compare_base_to_novel(store, "x", one, two).made
    part = lists(store, ["run"])[0]
    base = {"a": [scores(store, "0 part", part, own=old, clip=0.5)]}
    rest = {"a": [scores(store, "0 rest", lists(store, ["sit"])[0], own=old, clip=0.5)]}
    with pytest.raises(ValueError, match=r"as novel and has the class 'sit', which training_run/x"):
        compare_base_to_novel(store, "x", base, rest)
    other = {"a": [scores(store, "0 mixed", mixed, own=old, clip=0.5)]}
    assert compare_base_to_novel(store, "y", base, other).made


def test_base_and_novel_are_of_the_same_split(tmp_path):
    store = Store(tmp_path)
    base = {"a": [scores(store, "0 base", split="train", clip=0.5)]}
    novel = {"a": [scores(store, "0 novel", clip=0.5)]}
    with pytest.raises(
        ValueError, match=r"is of split train and .* of split test; give metrics of"
    ):
        compare_base_to_novel(store, "x", base, novel)


def test_every_variant_has_a_recipe_on_each_dataset():
    for variant in TABLE.variants:
        for dataset in ("stickworld", "kinetics400", "hmdb51", "ucf101"):
            assert recipe(f"mgdm_{dataset}_{variant}").dataset == dataset
