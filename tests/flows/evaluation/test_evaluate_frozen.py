"""Frozen CLIP scored without any run: the same numbers as beside a run, in the same tables."""

import json

import pytest
import torch
import torch.nn.functional as F

from artifacts.store import Store
from artifacts.tensors import read_tensor
from tests.flows.command_line import failed

TEMPLATES = ("a photo of {label}", "someone who can {label}")


@pytest.fixture
def clip(videos, weights):
    return ("--videos", videos, "--clip", "tiny-vit", "--clip-weights", weights, "--frames", 2)


@pytest.fixture
def scored(actionlore, registered, clip):
    """Frozen CLIP's metrics on the test videos, and what was printed."""
    words = [word for each in TEMPLATES for word in ("--template", each)]
    done = actionlore("evaluate", "--data", "tiny", *clip, "--precision", "fp32", *words)
    assert done.exit_code == 0, done.output
    return Store("store").get("metrics/tiny-frozen-test"), done


def values(metrics, protocol):
    rows = metrics.read().to_pylist()
    return {row["metric"]: row["value"] for row in rows if row["protocol"] == protocol}


def test_it_scores_what_stands_beside_a_run(actionlore, scored, clip):
    metrics, done = scored
    assert "frozen CLIP" in done.stdout
    mined = actionlore("mine", "--dataset", "tiny", *clip, "--precision", "fp32", "--top-k", 1)
    assert mined.exit_code == 0, mined.output
    assert "found frame_embeddings/tiny" in mined.stdout
    trained = actionlore(
        *("train", "--dataset", "tiny", "--recipe", "prototype", "--set", "data.num_frames=2"),
        *("--name", "means"),
    )
    assert trained.exit_code == 0, trained.output
    beside = Store("store").get("metrics/means-test")
    assert values(metrics, "zero_shot/prompt") == values(beside, "zero_shot/prompt") != {}
    again = actionlore("evaluate", "--data", "tiny", *clip, "--precision", "fp32")
    assert again.exit_code == 0
    table = actionlore("summarise", "both", "--of", "clip=tiny-frozen-test", "--json")
    assert table.exit_code == 0, table.output
    assert json.loads(table.stdout)
    seen = actionlore("inspect", "compare", metrics.ref, beside.ref)
    assert seen.exit_code == 0, seen.output


def test_templates_are_averaged(scored):
    metrics, _ = scored
    store = metrics.store
    predictions = store.get(metrics.manifest.inputs["predictions"].ref)
    assert "run" not in predictions.manifest.inputs
    frames, texts = (
        store.get(predictions.manifest.inputs[role].ref).read() for role in ("frames", "templates")
    )
    rows = torch.from_numpy(read_tensor(texts, "embedding")).float()
    mean_KD = F.normalize(rows.view(4, 2, -1).mean(dim=1), dim=-1)
    units = torch.from_numpy(read_tensor(frames, "embedding")).float()
    place = {video: i for i, video in enumerate(frames["video_id"].to_pylist())}
    listed = store.get(predictions.manifest.inputs["classes"].ref).read(["class_id"])
    ids = listed["class_id"].to_pylist()
    found = [r for r in predictions.read().to_pylist() if r["protocol"] == "zero_shot/templates"]
    assert len(found) == 4
    for row in found:
        cosines = mean_KD @ F.normalize(units[place[row["video_id"]]].mean(dim=0), dim=-1)
        order = cosines.argsort(descending=True).tolist()
        assert row["top_class_ids"] == [ids[k] for k in order]
        chances = (100 * cosines).softmax(dim=0)[order].tolist()
        assert row["top_probabilities"] == pytest.approx(chances, abs=1e-3)


def test_what_has_no_effect_is_refused(actionlore, registered, clip):
    failed(actionlore("evaluate"), "give RUN, or, to score frozen CLIP alone, --data DATASET")
    failed(actionlore("evaluate", "run", "--frames", 2), "--frames has no effect with RUN")
    given = ("evaluate", "--data", "tiny", *clip)
    failed(actionlore(*given, "--wise-ft", 0.5), "--wise-ft has no effect without RUN")
    failed(actionlore("evaluate", "--data", "tiny", *clip[2:]), "give --videos")
    failed(actionlore(*given, "--split", "val"), "no videos in split 'val'")
    failed(actionlore(*given, "--template", "none"), "must contain {label}")
