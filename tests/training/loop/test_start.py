"""A run that starts from the weights of another one."""

import numpy as np
import pytest
import torch

from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip
from tests.training.runs import MODELS, config_of, start
from tests.training.world import World
from tests.video_files import write_video
from training.config.overrides import override, override_stages
from training.config.run import RunConfig
from training.data.checks import problems
from training.evaluation.evaluate import evaluate
from training.loop.trainer import train
from training.models import weights
from training.models.actionclip.config import ActionClipConfig
from training.models.build import load_start
from training.models.mgdm.config import MgdmConfig

TINY = ["model.video_blocks=1", "optim.epochs=1", "optim.warmup_epochs=0"]


def tensors_of(run):
    return weights.load(run.read_file(weights.FILE), "run").tensors


@pytest.mark.parametrize("model", MODELS)
def test_every_method_takes_over_all_weights(tmp_path, model):
    """Also on another class list: what belongs to classes is no weight."""
    world = World(tmp_path / "a", splits={"train": 2, "val": 1, "test": 1})
    config = config_of("optim.batch_size=8", model=model)
    inputs = world.inputs(templates=world.publish_templates())
    first = train(world.store, inputs, config, "first").artifact
    other = World(tmp_path / "b", num_classes=4, splits={"train": 2, "val": 1, "test": 1})
    there = other.inputs(templates=other.publish_templates(), start=first)
    assert list(problems(there, config)) == []
    run = start(there, config)
    before = {name: tensor.clone() for name, tensor in run.state.method.trained_state().items()}
    load_start(run.state.method, there, config)
    after, expected = run.state.method.trained_state(), tensors_of(first)
    assert after.keys() == expected.keys()
    assert all(torch.equal(after[name], expected[name]) for name in expected)
    assert any(not torch.equal(before[name], expected[name]) for name in expected)


def test_the_start_is_part_of_the_key_and_of_the_lineage(world):
    config = config_of(*TINY)
    plain = train(world.store, world.inputs(), config, "plain").artifact
    moved = train(world.store, world.inputs(start=plain), config, "moved").artifact
    assert plain.manifest.key != moved.manifest.key
    assert moved.manifest.inputs["start"].content_hash == plain.manifest.content_hash
    assert not train(world.store, world.inputs(start=plain), config, "moved").made
    losses = [run.read()["loss"].to_pylist()[0] for run in (plain, moved)]
    assert losses[1] < losses[0]
    again = train(world.store, world.inputs(start=moved), config, "again").artifact
    assert again.manifest.key not in (plain.manifest.key, moved.manifest.key)


def test_a_start_that_does_not_fit_is_refused_with_the_remedy(world, tmp_path):
    config = config_of(*TINY)
    first = train(world.store, world.inputs(), config, "first").artifact
    deeper = config_of("model.video_blocks=1", "model.discriminator.blocks=1")
    with pytest.raises(ValueError, match=r"cannot be the start: its discriminator.*is not there"):
        train(world.store, world.inputs(start=first), deeper, "t")
    for settings, text in [
        (["model.video_blocks=2"], r"lacks .*blocks\.1\..* and \d+ more weights of the new model"),
        (["model.video_blocks=1", "model.discriminator.blocks=3"], r"lacks discriminator.*random"),
    ]:
        with pytest.raises(ValueError, match=text + ".*; set the new run's model as that run"):
            train(world.store, world.inputs(start=first), config_of(*settings), "t")
    templates = world.publish_templates()
    method = config_of(model="actionclip")
    with pytest.raises(ValueError, match=r"is of mgdm and cannot be the start of actionclip; give"):
        train(world.store, world.inputs(start=first, templates=templates), method, "t")
    foreign = World(tmp_path / "b", clip={"arch": "toy", "weights_sha256": "1" * 64})
    with pytest.raises(ValueError, match=r"from which the run is to start, with toy \(0000"):
        train(foreign.store, foreign.inputs(start=first), config, "t")
    with pytest.raises(ValueError, match=r"was given as start, which must be training_run"):
        train(world.store, world.inputs(start=world.frames), config, "t")
    assert len(world.store.published("training_run")) == 1


@pytest.fixture
def films(tmp_path):
    """A world whose videos are there, its CLIP, and what runs on them read."""
    spec = ClipSpec(arch="tiny-vit", weights=str(save_random_clip(tmp_path / "tiny.safetensors")))
    world = World(
        tmp_path / "store", 3, 64, 2, LazyClip(spec).identity, splits={"train": 2, "test": 1}
    )
    root = tmp_path / "videos"
    for i, video_id in enumerate(world.labels):
        write_video(root / f"{video_id}.mp4", 8 + i)
    return world, {"clip": spec, "root": root, "frames": None}


FILMS = ["data.features=videos", "data.num_frames=2", "data.short_side=32"]


def test_a_tower_that_the_start_trained_is_kept_though_it_is_frozen_now(films):
    """It is in the checkpoint, scoring finds it, and its features are not frozen CLIP's."""
    world, read = films
    base = override(RunConfig(model=MgdmConfig()), [*TINY, *FILMS, "model.negatives.k=2"])
    trained = override(base, ["vision.trainable=all", "optim.lr=1e-2"])
    inputs = world.inputs(**read)
    first = train(world.store, inputs, trained, "first").artifact
    second = train(world.store, world.inputs(**read, start=first), base, "second")
    name = "tower.visual.proj"
    assert torch.equal(tensors_of(second.artifact)[name], tensors_of(first)[name])
    assert second.artifact.manifest.report["weights_from_start"] == len(tensors_of(first))
    assert second.artifact.manifest.report["weights_from_clip"] == 0
    plain = train(world.store, inputs, base, "plain").artifact
    assert name not in tensors_of(plain)
    assert "weights_from_start" not in plain.manifest.report
    given = world.inputs(**read, start=plain)
    head_first = train(world.store, given, trained, "later").artifact
    tower = [each for each in tensors_of(head_first) if each.startswith("tower.")]
    assert head_first.manifest.report["weights_from_clip"] == len(tower) > 0
    assert head_first.manifest.report["weights_from_start"] == len(tensors_of(plain))
    found = {}
    for run in (second.artifact, plain):
        predictions, metrics = evaluate(world.store, run, inputs, "test")
        protocols = set(metrics.artifact.read()["protocol"].to_pylist())
        assert ("zero_shot/prompt" in protocols) == (run is plain)
        rows = predictions.artifact.read().to_pylist()
        found[run.manifest.name] = [
            row["top_probabilities"] for row in rows if row["protocol"] == "mgdm/all"
        ]
    assert not np.allclose(found["second"], found["plain"])


def test_a_random_tower_is_not_taken_for_clips(films):
    """A start without the text tower has it from CLIP, but where that begins at random."""
    world, read = films
    quick = [*FILMS, "optim.epochs=1", "optim.warmup_epochs=0", "model.video.post=meanP"]
    head = override(RunConfig(model=ActionClipConfig()), quick)
    templates = world.publish_templates()
    first = train(world.store, world.inputs(**read, templates=templates), head, "head").artifact
    whole = override(head, ["model.text.trainable=true", "vision.trainable=all"])
    given = world.inputs(**read, start=first)
    assert train(world.store, given, whole, "whole").artifact.manifest.report["weights_from_clip"]
    for init, lacking in (("vision_only", "texts."), ("scratch", "texts.")):
        random = override(whole, [f"model.init={init}"])
        with pytest.raises(ValueError, match=f"lacks {lacking}.* of the new model, which would"):
            train(world.store, given, random, "random")


def test_settings_are_of_all_stages_or_of_one():
    stages = (RunConfig(model=MgdmConfig()), RunConfig(model=MgdmConfig(), seed=1))
    found = override_stages(stages, ["optim.epochs=9", "stage2.optim.lr=1e-3"])
    assert [each.optim.epochs for each in found] == [9, 9]
    assert [each.optim.lr for each in found] == [5e-5, 1e-3]
    with pytest.raises(
        ValueError, match=r"is of stage 3, but .* has stages 1 to 2; .* or seed=1 f"
    ):
        override_stages(stages, ["stage3.seed=1"])
    with pytest.raises(ValueError, match=r"one run without stages; write seed=1$"):
        override_stages(stages[:1], ["stage1.seed=1"])
    with pytest.raises(ValueError, match=r"unknown setting 'optim\.lrr'"):
        override_stages(stages, ["stage1.optim.lrr=1"])
