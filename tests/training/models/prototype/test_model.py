"""Prototypes and the cache on a small world: by hand, chosen numbers, shots, refusals, videos."""

import pytest
import torch

from tests.training.world import LOGIT_SCALE, World
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.class_list import read_classes
from training.data.sources import CachedClips
from training.evaluation.evaluate import evaluate
from training.loop.trainer import train
from training.models import weights
from training.models.prototype.config import PrototypeConfig
from training.models.prototype.logits import ALPHAS, BETAS
from training.models.registry import baselines, recipe


def config_of(*settings):
    return override(RunConfig(model=PrototypeConfig()), ["data.num_frames=4", *settings])


def fitted(world, *settings):
    return train(world.store, world.inputs(), config_of(*settings), "prototype").artifact


def videos(world, split):
    """Unit video embeddings (N, D) and classes, by rising id, frame by frame."""
    ids = sorted(each for each in world.labels if each.startswith(f"{split}/"))
    rows = []
    for clip_TD in CachedClips(world.frames).fetch(ids):
        mean_D = sum(frame_D / frame_D.norm() for frame_D in clip_TD) / len(clip_TD)
        rows.append(mean_D / mean_D.norm())
    return torch.stack(rows), [world.labels[each] for each in ids]


def scored(world, run, protocol):
    """Class ids and probabilities by video."""
    rows = evaluate(world.store, run, world.inputs(), "test")[0].artifact.read().to_pylist()
    return {
        row["video_id"]: dict(zip(row["top_class_ids"], row["top_probabilities"], strict=True))
        for row in rows
        if row["protocol"] == protocol
    }


def check(found, logits_NK):
    for (_, probabilities), logits_K in zip(sorted(found.items()), logits_NK, strict=True):
        wanted_K = torch.tensor(logits_K).softmax(dim=0)
        for class_id, probability in probabilities.items():
            assert probability == pytest.approx(float(wanted_K[class_id]), abs=1e-4)


def test_the_nearest_class_mean_by_hand(world):
    run = fitted(world)
    train_ND, own = videos(world, "train")
    means = []
    for c in range(6):
        mean_D = sum(v_D for v_D, each in zip(train_ND, own, strict=True) if each == c) / 12
        means.append(mean_D / mean_D.norm())
    test_ND, _ = videos(world, "test")
    wanted = [[LOGIT_SCALE * float(v_D @ mean_D) for mean_D in means] for v_D in test_ND]
    check(scored(world, run, "prototype"), wanted)
    assert "alpha" not in run.manifest.report


def test_the_cache_by_hand(world):
    run = fitted(world, "model.cache=true", "model.alpha=0.7", "model.logit_scale.init=20")
    train_ND, own = videos(world, "train")
    texts_KD = torch.nn.functional.normalize(read_classes(world.classes, world.texts).prompts_KD)
    test_ND, _ = videos(world, "test")
    wanted = []
    for v_D in test_ND:
        kernel_N = torch.exp(-5.5 * (1 - torch.stack([v_D @ f_D for f_D in train_ND])))
        cache = [
            sum(float(each) for each, of in zip(kernel_N, own, strict=True) if of == c)
            for c in range(6)
        ]
        wanted.append([20 * float(v_D @ texts_KD[c]) + 0.7 * cache[c] for c in range(6)])
    check(scored(world, run, "tip_adapter"), wanted)
    assert (run.manifest.report["alpha"], run.manifest.report["beta"]) == (0.7, 5.5)


def test_alpha_and_beta_are_chosen_on_validation_videos(world):
    both = ["model.cache=true", "model.alpha=val", "model.beta=val", "data.shots=2"]
    run = fitted(world, *both)
    report = run.manifest.report
    assert report["alpha"] in ALPHAS
    assert report["beta"] in BETAS
    assert report["val_top1"] == pytest.approx(report["chosen"]["val_top1"])
    one = fitted(world, *both, "model.beta=2.5").manifest.report
    assert one["beta"] == 2.5
    assert one["alpha"] in ALPHAS
    assert one["val_top1"] <= report["val_top1"] + 1e-9
    plain = fitted(world, "model.cache=true", "data.shots=2").manifest.report
    assert plain["val_top1"] <= report["val_top1"] + 1e-9
    predictions = evaluate(world.store, run, world.inputs(), "val")[0].artifact
    assert predictions.manifest.facts["weights_chosen_on_these_videos"]


def test_shots_are_what_is_kept(world):
    run = fitted(world, "model.cache=true", "data.shots=3")
    tensors = weights.load(run.read_file(weights.FILE), "t").tensors
    assert tensors["video_ND"].shape == (18, 32)
    assert torch.bincount(tensors["class_N"]).tolist() == [3] * 6
    means = weights.load(fitted(world).read_file(weights.FILE), "t").tensors
    assert means["video_ND"].shape == (6, 32)
    assert means["class_N"].tolist() == list(range(6))


def test_what_cannot_be(tmp_path):
    with pytest.raises(ValueError, match=r"model.alpha=2.0 has no effect: model.cache is off"):
        config_of("model.alpha=2")
    with pytest.raises(ValueError, match=r"model.beta=0"):
        config_of("model.cache=true", "model.beta=0")
    with pytest.raises(ValueError, match=r"vision.trainable=all has no effect"):
        config_of("data.features=videos", "vision.trainable=all")
    with pytest.raises(ValueError, match=r"model.beta=val needs validation"):
        config_of("model.cache=true", "model.beta=val", "eval.every=0")
    world = World(tmp_path, splits={"train": 2, "test": 1})
    with pytest.raises(ValueError, match=r"model.alpha=val .* no split 'val'"):
        fitted(world, "model.cache=true", "model.alpha=val")
    assert fitted(world, "model.cache=true").manifest.report["val_top1"] is None


def test_recipes():
    assert not recipe("prototype").config.model.cache
    assert recipe("prototype_cache").config.model.chosen_on_val == ("model.alpha", "model.beta")
    assert {"prototype_stickworld", "prototype_cache_stickworld"} <= {
        each.name for each in baselines()
    }
