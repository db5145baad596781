"""Evaluation scores every readable video once, under every protocol."""

import shutil

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from artifacts.views.metrics import accuracies
from flows.terminal.cells import of_split
from flows.terminal.comparison import markdown
from tests.training.world import World
from training.config.overrides import override
from training.data.class_list import read_classes
from training.data.sources import CachedClips
from training.evaluation.evaluate import evaluate
from training.evaluation.scoring import zero_shot
from training.evaluation.tables.comparison import compare
from training.loop.trainer import train
from training.models.registry import recipe

QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.batch_size=24"]


def run_of(world, *settings):
    config = override(recipe("mgdm_small").config, [*QUICK, *settings])
    return train(world.store, world.inputs(), config, "toy").artifact


def values(outcome):
    rows = outcome.artifact.read().to_pylist()
    return {(row["protocol"], row["metric"]): row["value"] for row in rows}


def test_all_protocols_are_reported_and_found_again(world):
    run = run_of(world)
    calls = []
    predictions, metrics = evaluate(
        world.store, run, world.inputs(), "test", progress=lambda *call: calls.append(call)
    )
    assert calls[-1] == (30, 30)
    protocols = [
        "mgdm/neighbours",
        "mgdm/all",
        "mgdm/self",
        "zero_shot/prompt",
        "zero_shot/description",
    ]
    found = values(metrics)
    assert list(found) == [(p, m) for p in protocols for m in ("top1", "top5", "unreadable")]
    table = predictions.artifact.read().to_pylist()
    assert len(table) == 5 * 30
    for protocol in protocols:
        rows = [row for row in table if row["protocol"] == protocol]
        assert {row["video_id"] for row in rows} == {v for v in world.labels if "test/" in v}
        hits = [row["class_ids"][0] == row["top_class_ids"][0] for row in rows]
        assert found[protocol, "top1"] == pytest.approx(np.mean(hits))
        for row in rows:
            assert row["top_probabilities"] == sorted(row["top_probabilities"], reverse=True)
            assert len(set(row["top_class_ids"])) == 5
            assert row["class_ids"] == [world.labels[row["video_id"]]]
    said = metrics.artifact.manifest.report
    assert {(p, m): v for p, of_it in said["metrics"].items() for m, v in of_it.items()} == found
    assert said["classes_without_description"] == 4
    assert predictions.work == {"videos_scored": 30, "videos_decoded": 0}
    assert predictions.artifact.manifest.name == "toy-test"
    again = evaluate(world.store, run, world.inputs(), "test")
    assert not any(outcome.made for outcome in again)
    assert again[1].artifact.ref == metrics.artifact.ref


def test_contexts_without_difference_are_not_reported_twice(world):
    run = run_of(world, "model.negatives.k=0")
    found = values(evaluate(world.store, run, world.inputs(), "val")[1])
    assert [p for p, m in found if m == "top1"][:2] == ["mgdm/self", "mgdm/all"]
    assert ("mgdm/neighbours", "top1") not in found
    run = run_of(world, "model.no_discriminator=true")
    found = values(evaluate(world.store, run, world.inputs(), "val")[1])
    assert [p for p, m in found if m == "top1"][:2] == ["mgdm", "zero_shot/prompt"]


@pytest.mark.parametrize(
    ("settings", "primary"),
    [
        *(([f"model.inference_context={each}"], each) for each in ("all", "self", "neighbours")),
        ([], "neighbours"),
        (["model.negatives.k=0"], "self"),
        (["model.discriminator.scope=batch"], "all"),
    ],
)
def test_val_top1_of_the_run_is_that_of_the_context_whose_length_is_trained(
    world, settings, primary
):
    """1 + k texts; with k = 0 each class alone; a whole batch of them is nearest to all classes."""
    run = run_of(world, *settings)
    found = values(evaluate(world.store, run, world.inputs(), "val")[1])
    expected = run.read().to_pylist()[-1]["val_top1"]
    assert found[f"mgdm/{primary}", "top1"] == pytest.approx(expected, abs=1e-6)
    assert next(iter(found)) == (f"mgdm/{primary}", "top1"), "it is the first"


def test_zero_shot_is_frozen_clip(world):
    run = run_of(world)
    predictions, metrics = evaluate(world.store, run, world.inputs(), "test")
    classes = read_classes(world.classes, world.texts)
    rows = predictions.artifact.read().to_pylist()
    ids = sorted({row["video_id"] for row in rows})
    features = CachedClips(world.frames).fetch(ids)
    video = F.normalize(F.normalize(features, dim=-1).mean(1), dim=-1)
    for protocol, texts in (
        ("zero_shot/prompt", classes.prompts_KD),
        ("zero_shot/description", classes.descriptions_KD),
    ):
        expected = (100 * video @ F.normalize(texts, dim=-1).T).softmax(1)
        for video_id, row in zip(ids, expected, strict=True):
            found = next(r for r in rows if r["protocol"] == protocol and r["video_id"] == video_id)
            assert found["top_class_ids"][0] == row.argmax().item()
            assert found["top_probabilities"][0] == pytest.approx(row.max().item(), abs=1e-5)
        truth = torch.tensor([world.labels[video_id] for video_id in ids])
        assert values(metrics)[protocol, "top1"] == pytest.approx(
            (expected.argmax(1) == truth).float().mean().item()
        )
    assert zero_shot(features, classes.prompts_KD).shape == (30, 6)


def test_without_descriptions_there_is_no_such_protocol(tmp_path):
    world = World(tmp_path, described=())
    metrics = evaluate(world.store, run_of(world), world.inputs(), "test")[1]
    assert ("zero_shot/description", "top1") not in values(metrics)


def test_unreadable_videos_are_counted(tmp_path):
    world = World(tmp_path, broken={"test/c0/v0", "test/c1/v0", "test/c5/v4"})
    predictions, metrics = evaluate(world.store, run_of(world), world.inputs(), "test")
    rows = metrics.artifact.read().to_pylist()
    assert {row["num_videos"] for row in rows if row["metric"] == "top1"} == {27}
    assert values(metrics)["mgdm/all", "unreadable"] == pytest.approx(0.1)
    assert {of_split(row) for row in accuracies(metrics.artifact)} == {"27 of test, 3 unusable"}
    compared = compare(world.store, "x", {"k3": [metrics.artifact]}, {}).artifact
    head, _, *rows = markdown(compared, {}).splitlines()
    assert head.endswith("| unreadable % |")
    assert all(row.endswith("| 10.0 |") for row in rows)
    assert predictions.artifact.manifest.facts["videos_skipped"] == {"unreadable": 3}


def test_batch_size_changes_no_prediction(world):
    tops = []
    for size in (7, 256):
        run = run_of(world, f"eval.batch_size={size}")
        predictions, _ = evaluate(world.store, run, world.inputs(), "test")
        rows = predictions.artifact.read().to_pylist()
        tops.append({(r["protocol"], r["video_id"]): r["top_class_ids"] for r in rows})
    assert tops[0] == tops[1]


def test_errors_name_what_to_do(tmp_path):
    world = World(tmp_path / "a", splits={"train": 4, "test": 2})
    run = run_of(world)
    with pytest.raises(ValueError, match=r"has no video in split 'val'; it has test, train"):
        evaluate(world.store, run, world.inputs(), "val")
    wrong = {"arch": "toy", "weights_sha256": "1" * 64}
    other = World(tmp_path / "b", splits={"train": 4, "test": 2}, clip=wrong)
    with pytest.raises(ValueError, match="was made with another CLIP than training_run/toy"):
        evaluate(world.store, run, other.inputs(), "test")
    other = World(tmp_path / "c", splits={"train": 4, "test": 2}, num_frames=5)
    with pytest.raises(ValueError, match="holds 5 frames per video"):
        evaluate(world.store, run, other.inputs(), "test")


def test_another_dataset_of_the_same_clip_can_be_scored(tmp_path):
    world, other = World(tmp_path / "a"), World(tmp_path / "b", num_classes=9, seed=2)
    found = values(evaluate(other.store, run_of(world), other.inputs(negatives=None), "test")[1])
    assert 0 <= found["mgdm/all", "top1"] <= 1


def test_an_interrupted_evaluation_is_finished_from_the_stored_predictions(world):
    """Metrics follow from predictions, so another machine's rounding cannot stand in the way."""
    run = run_of(world)
    _, metrics = evaluate(world.store, run, world.inputs(), "test")
    whole = metrics.artifact.read()
    shutil.rmtree(world.store.directory(metrics.artifact.ref))
    again, finished = evaluate(world.store, run, world.inputs(), "test")
    assert (again.made, finished.made) == (False, True)
    assert finished.artifact.read().equals(whole)
