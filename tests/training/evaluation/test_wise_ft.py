"""WiSE-FT: scores of weights between those of frozen CLIP and those that a run trained."""

import pytest
import torch

from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import load_clip
from knowledge.clip.weights import BUNDLED, ClipSpec
from knowledge.embedding.templates import template_embeddings
from tests.clip_weights import save_random_clip
from tests.training.world import World
from tests.video_files import write_video
from training.config.overrides import override
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.class_list import read_class_list
from training.data.run_data import read_videos
from training.distributed.group import Group
from training.evaluation.evaluate import evaluate
from training.evaluation.scored import find_scored, trained_towers
from training.evaluation.scoring import Pass, scored
from training.evaluation.wise_ft import clip_weights, interpolated, protocol_at
from training.launch import launch
from training.loop.trainer import train
from training.models import weights as checkpoint
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.prompts import TEMPLATES
from training.models.build import assemble, restore

QUICK = [
    "data.features=videos",
    "data.num_frames=2",
    "optim.epochs=1",
    "optim.warmup_epochs=0",
    "optim.batch_size=4",
    "optim.lr=1e-3",
    "eval.every=0",
]
HEAD = ["model.video.layers=1"]
MEAN = ["model.video.post=meanP"]
IMAGE, TEXT = "vision.trainable=all", "model.text.trainable=true"
REGIMES = {
    "both towers": ([*HEAD, IMAGE, TEXT], {"image", "text"}),
    "text tower": ([*HEAD, TEXT], {"text"}),
    "image tower": ([*HEAD, IMAGE], {"image"}),
    "last block": ([*MEAN, "vision.trainable=last_n", "vision.last_n=1"], {"image"}),
}
UNTRAINED = {
    "head only": HEAD,
    "time alone in the tower": ["model.video.pre=joint", *MEAN],
    "not CLIP's weights": [*HEAD, IMAGE, TEXT, "model.init=scratch"],
}


def config_of(settings):
    return override(RunConfig(model=ActionClipConfig()), [*QUICK, *settings])


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """A world of real video files with its inputs, and the same of another number of classes."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("films")
    spec = ClipSpec(arch="tiny-vit", weights=str(save_random_clip(root / "tiny.safetensors")))

    def made(name, num_classes):
        world = World(
            root / name,
            num_classes=num_classes,
            dim=64,
            num_frames=2,
            clip=LazyClip(spec).identity,
            splits={"train": 2, "test": 2},
        )
        for i, video_id in enumerate(world.labels):
            write_video(root / "videos" / f"{video_id}.mp4", 6 + i)
        clip = LazyClip(spec)
        texts = template_embeddings(world.store, clip, world.classes, TEMPLATES).artifact
        return world, world.inputs(
            clip=spec, root=root / "videos", templates=texts, negatives=None, corpora=()
        )

    return made("own", 3), made("other", 4)


@pytest.fixture(scope="module")
def trained(films):
    (world, inputs), _ = films
    found = {}

    def run(settings):
        name = "-".join(settings).replace("=", "-").replace(".", "-")
        if name not in found:
            found[name] = train(world.store, inputs, config_of(settings), name).artifact
        return found[name]

    return run


def probabilities(predictions, protocol):
    rows = predictions.artifact.read().to_pylist()
    return {
        row["video_id"]: (row["top_class_ids"], row["top_probabilities"])
        for row in rows
        if row["protocol"] == protocol
    }


def protocols_of(predictions):
    return predictions.artifact.manifest.facts["protocols"]


def model_of(inputs, config):
    classes, cpu = read_class_list(inputs, config), torch.device("cpu")
    return *assemble(inputs, config, classes, None, cpu), classes


@pytest.mark.parametrize("regime", REGIMES)
def test_at_the_ends_it_is_the_run_and_frozen_clip_under_the_trained_head(films, trained, regime):
    (world, inputs), _ = films
    settings, towers = REGIMES[regime]
    config, run = config_of(settings), trained(settings)
    saved = checkpoint.load(run.read_file(checkpoint.FILE), "t")
    assert trained_towers(config, saved.facts) == towers

    predictions, metrics = evaluate(world.store, run, inputs, "test", wise_ft=[1, 0, 0.5])
    assert predictions.artifact.manifest.config["wise_ft"] == [0, 0.5, 1]
    own = ["actionclip", *(f"actionclip@{alpha}" for alpha in ("0", "0.5", "1"))]
    assert protocols_of(predictions)[:4] == own
    assert {row["protocol"] for row in metrics.artifact.read().to_pylist()} >= set(own)
    plain = probabilities(predictions, "actionclip")
    assert len(plain) == 6
    assert probabilities(predictions, "actionclip@1") == plain
    assert probabilities(predictions, "actionclip@0.5") != plain

    method, source, classes = model_of(inputs, config)
    names = method.clip_names()
    head = {name: tensor for name, tensor in saved.tensors.items() if name not in names}
    assert not method.load_state_dict(head, strict=False).unexpected_keys
    method.eval()
    for name, tensor in load_clip(inputs.clip).model.state_dict().items():
        for own_name in (each for each, clip_name in names.items() if clip_name == name):
            assert torch.equal(method.state_dict()[own_name], tensor)
    videos = read_videos(inputs, config, "test", None)
    with torch.no_grad():
        classify = method.protocols(classes)
    frozen = Pass(method, source, videos, classify)
    found = scored(frozen, 3, config.eval.videos_per_pass, Group())
    expected = {
        videos.video_ids[i]: (row["top_class_ids"], row["top_probabilities"])
        for i, row in found.ranked("actionclip", classes)
    }
    assert probabilities(predictions, "actionclip@0") == expected


def test_between_the_ends_weights_are_weighted_means(films, trained):
    (_, inputs), _ = films
    settings, towers = REGIMES["both towers"]
    method, _, _ = model_of(inputs, config_of(settings))
    start = clip_weights(method, frozenset(towers))
    assert {name.split(".")[0] for name in start} == {"tower", "texts"}
    before = {name: tensor.clone() for name, tensor in start.items()}
    restore(method, checkpoint.load(trained(settings).read_file(checkpoint.FILE), "t"))
    run = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    between = interpolated(method, start, 0.3).state_dict()
    for name, tensor in run.items():
        expected = 0.7 * before[name] + 0.3 * tensor if name in before else tensor
        torch.testing.assert_close(between[name], expected, msg=name)
        assert torch.equal(method.state_dict()[name], tensor), "the method itself stays"
    assert any(not torch.equal(between[name], run[name]) for name in before)
    assert set(clip_weights(method, frozenset({"text"}))) == {n for n in before if "texts" in n}


def test_half_of_clip_stands_beside_the_run_on_classes_of_others_only(films, trained):
    (world, inputs), (other, others) = films
    run = trained(REGIMES["both towers"][0])
    own = evaluate(world.store, run, inputs, "test")[0]
    assert not any("@" in name for name in protocols_of(own))
    assert "wise_ft" not in own.artifact.manifest.config
    assert not find_scored(other.store, run, others, "test")
    zero_shot, metrics = evaluate(other.store, run, others, "test")
    assert protocols_of(zero_shot)[:2] == ["actionclip", "actionclip@0.5"]
    assert zero_shot.artifact.manifest.config["wise_ft"] == [0.5]
    assert zero_shot.work == {"videos_scored": 24, "videos_decoded": 16}
    assert "top1" in metrics.artifact.manifest.report["metrics"]["actionclip@0.5"]
    assert find_scored(other.store, run, others, "test")
    assert not find_scored(other.store, run, others, "test", wise_ft=())
    assert not evaluate(other.store, run, others, "test", wise_ft=[0.5])[0].made
    plain = evaluate(other.store, run, others, "test", wise_ft=())[0]
    assert plain.artifact.manifest.config.keys() == own.artifact.manifest.config.keys()
    assert probabilities(plain, "actionclip") == probabilities(zero_shot, "actionclip")


def test_texts_alone_need_no_second_look_at_the_videos(films, trained):
    _, (other, others) = films
    run = trained(REGIMES["text tower"][0])
    predictions, _ = evaluate(other.store, run, others, "test")
    assert protocols_of(predictions)[:2] == ["actionclip", "actionclip@0.5"]
    assert predictions.work == {"videos_scored": 8, "videos_decoded": 8}


def test_processes_are_told(tmp_path):
    spec = ClipSpec(arch="stickworld-clip", weights=BUNDLED)
    clip = LazyClip(spec)
    world = World(tmp_path, dim=clip.clip.dim, clip=clip.identity, splits={"train": 2, "test": 2})
    inputs = world.inputs(clip=spec, negatives=None, corpora=())
    settings = ["data.num_frames=4", "optim.epochs=1", "optim.warmup_epochs=0", "eval.every=0"]
    config = override(RunConfig(model=ActionClipConfig()), [*settings, *MEAN, TEXT])
    run = train(world.store, inputs, config, "toy").artifact
    given = (world.store, run, inputs, "test", None, None)
    shared = launch.evaluate(*given, RuntimeOptions(processes=2, device="cpu"), wise_ft=[0.25])
    assert protocols_of(shared[0])[:2] == ["actionclip", "actionclip@0.25"]
    assert not evaluate(*given, wise_ft=[0.25])[0].made


@pytest.mark.parametrize("regime", UNTRAINED)
def test_without_trained_weights_of_clip_it_is_refused_or_left_out(films, trained, regime):
    (world, inputs), (other, others) = films
    run = trained(UNTRAINED[regime])
    for alphas in ([0.5], [1]):
        with pytest.raises(ValueError, match=r"--wise-ft .* has no effect: training_run/.*leave"):
            evaluate(world.store, run, inputs, "test", wise_ft=alphas)
    predictions, _ = evaluate(other.store, run, others, "test")
    assert not any("@" in name for name in protocols_of(predictions))
    assert "wise_ft" not in predictions.artifact.manifest.config


@pytest.mark.parametrize("alpha", [-0.1, 1.5, float("nan")])
def test_alphas_are_shares(films, trained, alpha):
    (world, inputs), _ = films
    run = trained(REGIMES["both towers"][0])
    with pytest.raises(ValueError, match=r"--wise-ft .* is not in \[0, 1\]"):
        evaluate(world.store, run, inputs, "test", wise_ft=[alpha])


def test_a_frozen_tower_of_another_run_is_not_clips():
    settings = [*HEAD]
    started = checkpoint.Checkpoint({}, {"from_start": ["head.x", "tower.visual.proj"]})
    assert trained_towers(config_of(settings), started.facts) == {"image"}
    only_head = checkpoint.Checkpoint({}, {"from_start": ["head.x"]})
    assert trained_towers(config_of(settings), only_head.facts) == set()
    halves = config_of([*HEAD, IMAGE, TEXT, "model.init=vision_only"])
    assert trained_towers(halves, only_head.facts) == {"image"}


def test_names_of_protocols():
    named = [protocol_at("mgdm/all", alpha) for alpha in (0, 0.5, 0.25, 1.0)]
    assert named == ["mgdm/all@0", "mgdm/all@0.5", "mgdm/all@0.25", "mgdm/all@1"]
