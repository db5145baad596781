"""End to end: real video files through a real (random) CLIP tower."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from knowledge.video.fingerprint import file_fingerprint
from knowledge.video.frames import read_frames
from knowledge.video.sampling import segment_centres
from tests.clip_weights import save_random_clip
from tests.training.world import LOGIT_SCALE, World
from tests.video_files import write_video
from training.backbone.image_tower import ImageTower
from training.config.data import DataConfig, VisionConfig
from training.config.overrides import override
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.class_list import read_class_list, read_classes
from training.data.clips import VideoClips, read_clip
from training.data.inputs import TrainInputs
from training.data.order import EpochSeed, chunks
from training.data.run_data import read_videos
from training.distributed.group import Group
from training.evaluation.evaluate import evaluate
from training.loop.epochs import begin
from training.loop.optimizer import make_optimizer
from training.loop.trainer import train
from training.models import weights as checkpoint
from training.models.build import assemble, read_data
from training.models.mgdm.config import MgdmConfig

VIDEOS = [
    "data.features=videos",
    "data.num_frames=2",
    "model.video_blocks=1",
    "model.discriminator.blocks=1",
    "model.negatives.k=1",
    "optim.epochs=2",
    "optim.warmup_epochs=1",
    "optim.batch_size=4",
    "eval.batch_size=3",
]


@pytest.fixture(scope="module")
def clip_spec(tmp_path_factory):
    path = save_random_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")
    return ClipSpec(arch="tiny-vit", weights=str(path))


@pytest.fixture(scope="module")
def videos(tmp_path_factory, clip_spec):
    """World and inputs of real files; one cannot be read."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("videos")
    clip = load_clip(clip_spec)
    world = World(
        root / "store",
        num_classes=3,
        dim=clip.dim,
        num_frames=2,
        clip=clip.identity,
        splits={"train": 2, "val": 1, "test": 1},
    )
    for i, video_id in enumerate(world.labels):
        write_video(root / "videos" / f"{video_id}.mp4", 6 + i)
    (root / "videos/train/c2/v1.mp4").write_text("broken")
    return world, world.inputs(clip=clip_spec, root=root / "videos")


@pytest.mark.parametrize("trainable", ["none", "last_n", "all"])
def test_training_from_videos(videos, trainable):
    world, inputs = videos
    config = override(
        RunConfig(model=MgdmConfig()),
        [*VIDEOS, "data.augmentation=rrc_gray", f"vision.trainable={trainable}", "optim.lr=1e-3"],
    )
    outcome = train(world.store, inputs, config, "e2e")
    report = outcome.artifact.manifest.report
    assert list(report["videos_unreadable"]) == ["train/c2/v1"]
    assert "not a video file" in report["videos_unreadable"]["train/c2/v1"]
    assert outcome.work == {"epochs": 2, "steps": 4, "videos_decoded": 2 * 5 + 2 * 3}
    assert "frames" not in outcome.artifact.manifest.inputs
    saved = checkpoint.load(outcome.artifact.read_file(checkpoint.FILE), "e2e").tensors
    tower = {name.removeprefix("tower.") for name in saved if name.startswith("tower.")}
    original = {
        f"visual.{name}": tensor
        for name, tensor in load_clip(inputs.clip).model.visual.state_dict().items()
    }
    assert tower == (set() if trainable == "none" else set(original))
    moved = {name for name in tower if not torch.equal(saved[f"tower.{name}"], original[name])}
    last = max(int(n.split(".")[3]) for n in original if "resblocks" in n)
    last_parts = {
        name
        for name in original
        if f"resblocks.{last}." in name or "ln_post" in name or name == "visual.proj"
    }
    expected = {"none": set(), "last_n": last_parts, "all": set(original)}[trainable]
    assert moved == expected
    predictions, metrics = evaluate(world.store, outcome.artifact, inputs, "test")
    protocols = {row["protocol"] for row in metrics.artifact.read().to_pylist()}
    assert {"mgdm/all", "zero_shot/prompt"} <= protocols
    assert predictions.work["videos_decoded"] == 3
    assert not train(world.store, inputs, config, "e2e").made
    bare = world.inputs(clip=inputs.clip, root=inputs.root, frames=None)
    report = evaluate(world.store, outcome.artifact, bare, "test")[1].artifact.manifest.report
    assert report["zero_shot_omitted"] == (trainable != "none")


def test_frozen_tower_gives_what_embedding_gives(videos, clip_spec):
    _world, inputs = videos
    config = override(RunConfig(model=MgdmConfig()), [*VIDEOS, "data.short_side=64"])
    clip = load_clip(clip_spec)
    path = inputs.root / "test/c0/v0.mp4"
    pictures = torch.from_numpy(read_clip(path, "v", config.data, clip.image_size, None))
    tower = ImageTower(clip, VisionConfig(), "clip")
    expected = clip.model.encode_image(clip.pixels(pictures))
    torch.testing.assert_close(tower(pictures[None])[0], expected, rtol=1e-5, atol=1e-5)
    other = ImageTower(clip, VisionConfig(), "imagenet")
    assert not torch.allclose(other(pictures[None])[0], expected, atol=1e-3)


def test_which_frames_are_taken(tmp_path):
    path = write_video(tmp_path / "a.mp4", 40)
    data = DataConfig(features="videos", num_frames=4, short_side=48)

    def indices(draw, **changes):
        """Halves of the frame indices: the crop cuts the lowest bit of the pattern off."""
        picture = torch.from_numpy(read_clip(path, "a", data.model_copy(update=changes), 48, draw))
        whole = read_frames(path, lambda n: list(range(n))).images
        crop = whole[:, :, :, 8:56]
        return [
            int((crop.float() - each.float()).abs().mean(dim=(1, 2, 3)).argmin()) // 2
            for each in picture
        ]

    assert indices(None) == [i // 2 for i in segment_centres(40, 4)]
    assert indices(None, test_offset="start") == [i // 2 for i in (0, 10, 20, 30)]
    drawn = {tuple(indices(EpochSeed(0, epoch))) for epoch in range(4)}
    assert len(drawn) > 1
    for each in drawn:
        assert [i // 5 for i in each] == [0, 1, 2, 3]
    assert indices(EpochSeed(0, 1)) == indices(EpochSeed(0, 1))


def test_augmentation_depends_on_seed_epoch_and_video(tmp_path):
    path = write_video(tmp_path / "a.mp4", 12)
    data = DataConfig(features="videos", num_frames=3, short_side=48, augmentation="rrc_gray")
    one = read_clip(path, "a", data, 32, EpochSeed(0, 1))
    assert one.shape == (3, 3, 32, 32)
    assert one.dtype == np.uint8
    assert np.array_equal(one, read_clip(path, "a", data, 32, EpochSeed(0, 1)))
    for video_id, draw in (("a", EpochSeed(0, 2)), ("a", EpochSeed(1, 1)), ("b", EpochSeed(0, 1))):
        assert not np.array_equal(one, read_clip(path, video_id, data, 32, draw))


@pytest.mark.parametrize("draw", [None, EpochSeed(0, 1)])
def test_batches_do_not_depend_on_the_number_of_workers(videos, draw):
    _world, inputs = videos
    config = override(
        RunConfig(model=MgdmConfig()),
        [*VIDEOS, "data.augmentation=tsn_color", "eval.views=2x3", "data.flip=false"],
    )
    listed = read_videos(inputs, config, "train", None)
    order = list(chunks(np.array([4, 0, 5, 2, 1, 3]), 4))
    streams = []
    for workers in (0, 1, 2):
        source = VideoClips(inputs.root, config, 32, workers)
        streams.append(list(source.stream(listed, order, draw)))
        assert list(source.unreadable) == ["train/c2/v1"]
        assert source.num_decoded == 5
    for other in streams[1:]:
        for (index, clips), (index_other, clips_other) in zip(streams[0], other, strict=True):
            assert np.array_equal(index, index_other)
            assert torch.equal(clips, clips_other)
    assert [index.tolist() for index, _ in streams[0]] == [[4, 0, 2], [1, 3]]
    shape = (3, 6, 2, 3, 32, 32) if draw is None else (3, 2, 3, 32, 32)
    assert streams[0][0][1].shape == shape


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_is_not_the_registered_one_is_refused(videos, tmp_path, workers):
    _, inputs = videos
    root = tmp_path / "videos"
    shutil.copytree(inputs.root, root)
    config = override(RunConfig(model=MgdmConfig()), [*VIDEOS, "data.max_unreadable=0.5"])
    listed = read_videos(inputs, config, "train", None)
    prints = tuple(file_fingerprint(root / path) for path in listed.paths)
    registered = replace(listed, fingerprints=prints)
    order = list(chunks(np.arange(len(listed)), 4))

    def decoded():
        source = VideoClips(root, config, 32, workers)
        list(source.stream(registered, order, None))
        return source

    assert decoded().num_decoded == len(listed) - 1
    (root / listed.paths[0]).unlink()
    assert "no such file" in decoded().unreadable[listed.video_ids[0]]
    write_video(root / listed.paths[0], 9)
    with pytest.raises(ValueError, match=rf"video .*{listed.paths[0]} differs from what was reg"):
        decoded()


def test_the_fingerprints_of_registered_videos_are_read(tmp_path):
    write_video(tmp_path / "videos/train/hop/0.mp4", 6)
    store = Store(tmp_path / "store")
    spec = DatasetSpec(dataset="folder", videos=tmp_path / "videos", name="x")
    listing = read_listing(spec)
    classes = register_classes(store, "x", listing.classes).artifact
    found = register_videos(store, spec, listing, classes).artifact
    config = override(RunConfig(model=MgdmConfig()), VIDEOS)
    inputs = TrainInputs(classes=classes, videos=found, texts=classes)
    videos = read_videos(inputs, config, "train", None)
    assert videos.fingerprints == (file_fingerprint(tmp_path / "videos/train/hop/0.mp4"),)


def test_probabilities_of_views_are_averaged(videos):
    """A video's prediction from 2 x 3 views is the mean over those of its single views."""
    world, inputs = videos
    config = override(RunConfig(model=MgdmConfig()), VIDEOS)
    run = train(world.store, inputs, config, "views").artifact
    runtime = RuntimeOptions(workers=1)
    outcome, _ = evaluate(world.store, run, inputs, "test", runtime=runtime, views="2x3")
    several = outcome.artifact
    assert several.manifest.config["views"] == "2x3"
    classes = read_class_list(inputs, config)
    method, _ = assemble(inputs, config, classes, None, torch.device("cpu"))
    saved = checkpoint.load(run.read_file(checkpoint.FILE), "views")
    method.restore(saved.tensors)
    method.eval()
    with torch.no_grad():
        classify = method.protocols(read_classes(inputs.classes, inputs.texts))["mgdm/all"]
        for row in several.read().to_pylist():
            if row["protocol"] == "mgdm/all":
                path = inputs.root / f"{row['video_id']}.mp4"
                views = read_clip(path, "v", config.data, method.tower.image_size, None, (2, 3))
                each = [classify(method.features(torch.from_numpy(view)[None])) for view in views]
                expected = torch.cat(each).mean(dim=0)
                found = torch.tensor(row["top_probabilities"], dtype=torch.float64)
                torch.testing.assert_close(found, expected[row["top_class_ids"]])


def test_validation_sees_one_view(videos):
    _, inputs = videos
    config = override(RunConfig(model=MgdmConfig()), [*VIDEOS, "eval.views=2x3"])
    run = begin(inputs, config, Group(), RuntimeOptions(), None)
    assert run.source.config.eval.num_views == (1, 1)
    assert run.config.eval.num_views == (2, 3), "what is published"


def test_too_many_unreadable_videos_stop_the_run(videos):
    world, inputs = videos
    config = override(RunConfig(model=MgdmConfig()), [*VIDEOS, "data.max_unreadable=0.1"])
    with pytest.raises(ValueError, match="1 of 6 videos cannot be used, more than"):
        train(world.store, inputs, config, "t")
    with pytest.raises(ValueError, match="nowhere is not a directory"):
        train(
            world.store, world.inputs(clip=inputs.clip, root=inputs.root / "nowhere"), config, "t"
        )
    small = override(config, ["data.short_side=8"])
    with pytest.raises(ValueError, match=r"data\.short_side=8 is less than the"):
        train(world.store, inputs, small, "t")


def test_another_clip_is_refused_before_it_is_built(videos, tmp_path):
    world, _ = videos
    other = ClipSpec(
        arch="tiny-vit", weights=str(save_random_clip(tmp_path / "b.safetensors", seed=1))
    )
    config = override(RunConfig(model=MgdmConfig()), VIDEOS)
    with pytest.raises(ValueError, match="but the model given is tiny-vit"):
        train(world.store, world.inputs(clip=other, root=tmp_path), config, "t")
    assert LazyClip(other).identity != world.clip


def test_logit_scale_starts_at_the_checkpoints(videos):
    _world, inputs = videos
    config = override(RunConfig(model=MgdmConfig()), VIDEOS)
    classes = read_class_list(inputs, config)
    model, _ = assemble(inputs, config, classes, None, torch.device("cpu"))
    assert model.logit_scale.exp().item() == pytest.approx(LOGIT_SCALE)
    number = override(config, ["model.logit_scale.init=20"])
    classes = read_class_list(inputs, number)
    other, _ = assemble(inputs, number, classes, None, torch.device("cpu"))
    assert other.logit_scale.exp().item() == pytest.approx(20)
    assert len(make_optimizer(model, config).param_groups) == 2
    assert read_data(inputs, config).cached is None


def test_more_blocks_than_there_are(videos, clip_spec):
    with pytest.raises(ValueError, match=r"vision\.last_n=99, but the image tower has"):
        ImageTower(load_clip(clip_spec), VisionConfig(trainable="last_n", last_n=99), "clip")
