"""A linear probe by hand: what it is fitted on, what it gives, and what it refuses."""

from dataclasses import replace

import pytest
import torch

from tests.training.world import World
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.class_list import read_classes
from training.data.sources import CachedClips
from training.evaluation.evaluate import evaluate
from training.loop.trainer import train
from training.models import weights
from training.models.build import assemble, restore
from training.models.linear_probe.config import LinearProbeConfig
from training.models.linear_probe.regression import minimise
from training.models.registry import baselines, recipe


def config_of(*settings):
    return override(RunConfig(model=LinearProbeConfig()), ["data.num_frames=4", *settings])


def fitted(world, *settings):
    return train(world.store, world.inputs(), config_of(*settings), "probe").artifact


def frames(world, split):
    """Cached features (N, T, D) and classes of a split's videos, by rising id."""
    ids = sorted(each for each in world.labels if each.startswith(f"{split}/"))
    clips = CachedClips(world.frames).fetch(ids)
    return clips, torch.tensor([world.labels[each] for each in ids])


def test_forward_and_fit_by_hand(world):
    run = fitted(world, "model.strength=0.5")
    tensors = weights.load(run.read_file(weights.FILE), "t").tensors
    clips_NTD, class_N = frames(world, "train")
    wanted = minimise(clips_NTD.mean(dim=1), class_N, 6, 0.5)
    torch.testing.assert_close(tensors["weight_KD"], wanted.weight_KD.float())
    torch.testing.assert_close(tensors["bias_K"], wanted.bias_K.float())
    assert run.manifest.report["strength"] == 0.5
    assert run.manifest.report["loss"] == pytest.approx(wanted.cross_entropy)
    predictions = evaluate(world.store, run, world.inputs(), "test")[0].artifact.read().to_pylist()
    rows = {row["video_id"]: row for row in predictions if row["protocol"] == "linear_probe"}
    clips_NTD, _ = frames(world, "test")
    for clip_TD, (_, row) in zip(clips_NTD, sorted(rows.items()), strict=True):
        video_D = sum(clip_TD) / 4
        logits = [
            float(w_D @ video_D + b)
            for w_D, b in zip(wanted.weight_KD.float(), wanted.bias_K, strict=True)
        ]
        probabilities = torch.tensor(logits).exp() / torch.tensor(logits).exp().sum()
        best = probabilities.sort(descending=True)
        assert row["top_class_ids"] == best.indices[:5].tolist()
        assert row["top_probabilities"] == pytest.approx(best.values[:5].tolist(), abs=1e-5)


def test_the_strength_is_chosen_on_validation_videos_and_the_report_tells_all(world):
    run = fitted(world)
    report = run.manifest.report
    tried = {float(name): said["val_top1"] for name, said in report["strengths"].items()}
    assert len(tried) >= 7
    assert float(f"{report['strength']:.3g}") in tried
    assert report["val_top1"] == pytest.approx(max(tried.values()))
    clips_NTD, class_N = frames(world, "train")
    val_NTD, true_N = frames(world, "val")
    for strength in (1e-6, 1.0, 1e6):
        found = minimise(clips_NTD.mean(dim=1), class_N, 6, strength)
        hits_N = found.logits(val_NTD.mean(dim=1).double()).argmax(dim=1) == true_N
        assert tried[strength] == pytest.approx(float(hits_N.double().mean()))
    again = fitted(world, f"model.strength={report['strength']!r}")
    one, other = (weights.load(each.read_file(weights.FILE), "t").tensors for each in (run, again))
    assert all(torch.equal(one[name], other[name]) for name in one)
    said = {
        split: evaluate(world.store, run, world.inputs(), split)[0].artifact.manifest.facts
        for split in ("val", "test")
    }
    chosen_on = "weights_chosen_on_these_videos"
    assert (said["val"][chosen_on], said["test"][chosen_on]) == (True, False)
    given = evaluate(world.store, again, world.inputs(), "val")[0].artifact.manifest.facts
    assert not given[chosen_on]


def test_without_validation_videos_the_strength_must_be_given(tmp_path):
    world = World(tmp_path, splits={"train": 3, "test": 1})
    with pytest.raises(ValueError, match=r"model.strength=val .* no split 'val'; set it to a num"):
        fitted(world)
    with pytest.raises(ValueError, match=r"model.strength=val needs validation; set eval"):
        config_of("eval.every=0")
    assert fitted(world, "model.strength=1").manifest.report["val_top1"] is None


def test_classes_are_known_by_name_and_others_are_refused(world, tmp_path):
    run = fitted(world, "model.strength=1")
    method = _restored(world, run)
    classes = read_classes(world.classes, world.texts)
    clips, _ = frames(world, "test")
    whole_BK = method.protocols(classes)["linear_probe"](clips)
    fewer = World(tmp_path, num_classes=6)
    some = read_classes(fewer.classes, fewer.texts)
    mixed = _renamed(some, ("toy4", "toy1"))
    logits_BK = (clips.mean(dim=1) @ method.weight_KD.T + method.bias_K).double()
    found_BK = method.protocols(mixed)["linear_probe"](clips)
    torch.testing.assert_close(found_BK, logits_BK[:, [4, 1]].softmax(dim=1))
    torch.testing.assert_close(whole_BK, logits_BK.softmax(dim=1))
    with pytest.raises(ValueError, match=r"class 'toy9' is not among the 6 classes that linear_p"):
        method.protocols(_renamed(some, ("toy0", "toy9")))


def test_a_class_without_a_training_video_is_refused(tmp_path):
    broken = [f"train/c2/v{i}" for i in range(3)]
    world = World(tmp_path, splits={"train": 3, "test": 1}, broken=broken)
    with pytest.raises(ValueError, match="class 'toy2' has no usable training video, so linear_p"):
        fitted(world, "model.strength=1")


def test_settings_of_gradient_steps_have_no_effect():
    for setting in ("optim.lr=0.1", "eval.select=val", "eval.patience=3"):
        with pytest.raises(
            ValueError, match=r"has no effect: (linear_probe is made in one|eval.select is null)"
        ):
            config_of(setting)
    with pytest.raises(ValueError, match=r"vision.trainable=all has no effect: linear_probe is"):
        config_of("data.features=videos", "vision.trainable=all")
    with pytest.raises(ValueError, match=r"model.strength=0"):
        config_of("model.strength=0")


def test_recipes():
    assert recipe("linear_probe").config.model == LinearProbeConfig()
    assert "linear_probe_stickworld" in [each.name for each in baselines()]


def _renamed(classes, names):
    ids = tuple(range(len(names)))
    return replace(
        classes, class_ids=ids, names=names, prompt_names=names, prompts_KD=classes.prompts_KD[:2]
    )


def _restored(world, run):
    saved = weights.load(run.read_file(weights.FILE), "t")
    classes = read_classes(world.classes, world.texts)
    cached, cpu = CachedClips(world.frames), torch.device("cpu")
    method, _ = assemble(world.inputs(), config_of("model.strength=1"), classes, cached, cpu)
    restore(method, saved)
    return method.eval()
