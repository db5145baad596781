"""Few-shot scores of a run: its own clip embeddings and frozen CLIP's, every video seen once."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.training.literal import nearest_class_mean_hits
from tests.training.runs import FITTED, MODELS, config_of
from tests.training.world import World
from training.config.episodes import EpisodesConfig
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.sources import CachedClips
from training.evaluation.episodes import draw_episodes, read_episodes
from training.evaluation.evaluate import load_run
from training.evaluation.few_shot import evaluate_few_shot
from training.loop.trainer import train
from training.models import weights
from training.models.build import assemble, read_data

QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.batch_size=24", "optim.warmup_epochs=1"]


def run_of(world, inputs, model="mgdm", *settings):
    config, own = MODELS[model]
    config = override(RunConfig(model=config), [*QUICK, *own, *settings])
    return train(world.store, inputs, config, "toy").artifact


def episodes_of(world, **config):
    config = EpisodesConfig(**({"ways": 3, "shots": 2, "num_episodes": 50} | config))
    return draw_episodes(world.store, world.videos, config).artifact


def values(outcome):
    rows = outcome.artifact.read().to_pylist()
    return {(row["protocol"], row["metric"]): row["value"] for row in rows}


def model_of(run, inputs):
    saved, config = load_run(run, inputs)
    data = read_data(inputs, config)
    method, _ = assemble(inputs, config, data.classes, data.cached, torch.device("cpu"))
    weights.restore(method, saved.tensors, set(method.trained_state()))
    return method.eval()


def embedded(name, method, features_BTD):
    """By the definition of each method."""
    if name == "frozen_clip":
        return F.normalize(features_BTD, dim=-1).mean(1)
    if name == "actionclip":
        return method.head(features_BTD)
    frames_BTD = method.represent(features_BTD)
    return torch.stack([F.normalize(frames, dim=-1).sum(0) / len(frames) for frames in frames_BTD])


@pytest.mark.parametrize("model", ["mgdm", "actionclip"])
def test_accuracies_are_those_of_a_loop_over_the_episodes(world, model):
    inputs = world.inputs(templates=world.publish_templates())
    run = run_of(world, inputs, model)
    episodes, calls = episodes_of(world), []
    outcome = evaluate_few_shot(
        world.store, run, inputs, episodes, progress=lambda *call: calls.append(call)
    )
    protocols = [f"nearest_class_mean/{name}" for name in (model, "frozen_clip")]
    found = values(outcome)
    assert list(found) == [(p, m) for p in protocols for m in ("accuracy", "ci95")]
    read, method = read_episodes(episodes), model_of(run, inputs)
    features = CachedClips(world.frames).fetch(read.video_ids)
    for protocol in protocols:
        with torch.no_grad():
            embeddings = embedded(protocol.split("/")[1], method, features).double().numpy()
        hits = nearest_class_mean_hits(embeddings, read.support_ENS.numpy(), read.query_ENQ.numpy())
        assert 0.34 < hits.mean() < 1, "chance is 0.33"
        assert found[protocol, "accuracy"] == pytest.approx(hits.mean())
        shares = hits.mean(axis=(1, 2))
        expected = 1.96 * shares.std(ddof=1) / np.sqrt(50)
        assert found[protocol, "ci95"] == pytest.approx(expected)
    assert not outcome.artifact.manifest.report["embeds_as_frozen_clip"]
    assert calls[-1] == (30, 30)
    manifest = outcome.artifact.manifest
    assert manifest.name == "toy-toy-test-3way-2shot"
    assert set(manifest.inputs) == {"run", "episodes", "videos", "classes", "frames"}
    assert {row["num_videos"] for row in outcome.artifact.read().to_pylist()} == {50 * 3}
    assert manifest.report["classes_trained_on"] == 6, "the toy dataset has its classes in train"
    assert outcome.work == {"videos_scored": 30, "videos_decoded": 0}
    again = evaluate_few_shot(world.store, run, inputs, episodes)
    assert (again.made, again.artifact.ref) == (False, outcome.artifact.ref)


@pytest.mark.parametrize("model", [*FITTED, "mgdm without its representer"])
def test_a_run_that_embeds_as_frozen_clip_has_no_number_of_its_own(world, model):
    if model in FITTED:
        config = config_of(model=model)
    else:
        method = MODELS["mgdm"][0].model_copy(update={"no_video_representer": True})
        config = override(RunConfig(model=method), [*QUICK, "model.negatives.k=3"])
    run = train(world.store, world.inputs(), config, "probe").artifact
    outcome = evaluate_few_shot(world.store, run, world.inputs(), episodes_of(world))
    assert {protocol for protocol, _ in values(outcome)} == {"nearest_class_mean/frozen_clip"}
    assert outcome.artifact.manifest.report["embeds_as_frozen_clip"]


def test_batch_size_changes_nothing(world):
    found = [
        values(
            evaluate_few_shot(
                world.store,
                run_of(world, world.inputs(), "mgdm", f"eval.batch_size={size}"),
                world.inputs(),
                episodes_of(world),
            )
        )
        for size in (7, 256)
    ]
    assert found[0] == pytest.approx(found[1])


def test_episodes_with_an_unreadable_video_are_left_out(tmp_path):
    broken = {"test/c0/v0", "test/c3/v1"}
    world = World(tmp_path, broken=broken)
    run, episodes = run_of(world, world.inputs()), episodes_of(world)
    outcome = evaluate_few_shot(world.store, run, world.inputs(), episodes)
    rows = episodes.read().to_pylist()
    hit = {row["episode"] for row in rows if row["video_id"] in broken}
    assert 0 < len(hit) < 50
    report = outcome.artifact.manifest.report
    assert report["episodes_left_out"] == len(hit)
    assert set(report["episodes"].values()) == {50 - len(hit)}
    assert {row["num_videos"] for row in outcome.artifact.read().to_pylist()} == {
        (50 - len(hit)) * 3
    }


def test_too_few_readable_videos_are_refused(tmp_path):
    """One episode of 12 videos, one of which cannot be read: more than 8 %, of the split 3 %."""
    one = {"ways": 6, "shots": 1, "num_episodes": 1}
    whole = World(tmp_path / "whole")
    lost = episodes_of(whole, **one).read()["video_id"].to_pylist()[0]
    world = World(tmp_path / "broken", broken={lost})
    episodes = episodes_of(world, **one)
    strict = run_of(world, world.inputs(), "mgdm", "data.max_unreadable=0.08")
    with pytest.raises(
        ValueError, match=r"episodes of split 'test': 1 of 12 videos cannot be used"
    ):
        evaluate_few_shot(world.store, strict, world.inputs(), episodes)
    run = run_of(world, world.inputs(), "mgdm", "data.max_unreadable=0.5")
    with pytest.raises(ValueError, match="each of the 1 has a video that cannot be read"):
        evaluate_few_shot(world.store, run, world.inputs(), episodes)


def test_classes_trained_on_are_known_by_name(world, tmp_path):
    """The other dataset numbers the first one's classes from its end, and has three of its own."""
    other = World(tmp_path, num_classes=6, seed=2)
    names = ["toy5", "toy4", "toy3", "new", "newer", "newest"]

    def renamed(kind, rows, *args, publish=other.publish, **kwargs):
        if kind == "classes":
            rows = [row | {"name": names[row["class_id"]]} for row in rows]
        return publish(kind, rows, *args, **kwargs)

    other.publish = renamed
    other.classes = other.publish_classes("toy", 6)
    other.videos = other.publish_videos()
    other.frames = other.publish_frames()
    other.texts = other.publish_texts("toy", other.classes, other.texts_KD)
    run = run_of(world, world.inputs())
    inputs, episodes = other.inputs(negatives=None), episodes_of(other)
    outcome = evaluate_few_shot(other.store, run, inputs, episodes)
    assert outcome.artifact.manifest.report["classes_trained_on"] == 3


def test_another_dataset_of_the_same_clip_can_be_scored(tmp_path):
    world, other = World(tmp_path / "a"), World(tmp_path / "b", num_classes=9, seed=2)
    run = run_of(world, world.inputs())
    inputs = other.inputs(negatives=None)
    outcome = evaluate_few_shot(other.store, run, inputs, episodes_of(other))
    trained_on = outcome.artifact.manifest.report["classes_trained_on"]
    assert trained_on == 6, "of the same names, of 9"
    assert 0 < values(outcome)["nearest_class_mean/mgdm", "accuracy"] <= 1
    with pytest.raises(ValueError, match=r"was drawn from videos/toy@\w+, not from videos/toy@"):
        evaluate_few_shot(other.store, run, inputs, episodes_of(world))
