"""A published run on video files, in the store and out of it, says what evaluation says."""

import json

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import load_file

from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.templates import template_embeddings
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import mine
from knowledge.video.decoding import VideoError
from tests.clip_weights import save_random_clip
from tests.jobs import frame_embeddings
from tests.video_files import write_video
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.inputs import TrainInputs, own_inputs
from training.evaluation.evaluate import evaluate
from training.inference.export import export, load
from training.inference.prediction import classifier
from training.loop.trainer import train
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.prompts import TEMPLATES
from training.models.mgdm.config import MgdmConfig

NAMES = ("walk", "run", "sit")
QUICK = [
    *("data.num_frames=2", "optim.epochs=1", "optim.warmup_epochs=0", "optim.batch_size=3"),
    *("optim.lr=1e-3", "eval.every=0"),
]
MGDM = ["model.video_blocks=1", "model.discriminator.blocks=1", "model.negatives.k=1"]
VIDEOS = ["data.features=videos", "data.short_side=40"]
RUNS = {
    "mgdm, cached": (MgdmConfig(), MGDM),
    "mgdm, last block": (MgdmConfig(), [*MGDM, *VIDEOS, "vision.trainable=last_n"]),
    "actionclip, cached": (ActionClipConfig(), ["model.video.layers=1"]),
    "actionclip, both towers": (
        ActionClipConfig(),
        [
            *(*VIDEOS, "vision.trainable=all", "model.text.trainable=true"),
            *("model.init=scratch", "model.video.post=Conv_1D"),
        ],
    ),
    "actionclip, joint": (
        ActionClipConfig(),
        [*VIDEOS, "model.video.pre=joint", "model.video.post=meanP"],
    ),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A store with a small dataset of real files, and all that both methods need of it."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("world")
    for i in range(9):
        split = "test" if i >= 6 else "train"
        write_video(root / "videos" / split / NAMES[i % 3] / f"{i}.mp4", 8 + i)
    weights = save_random_clip(root / "tiny.safetensors")
    spec = ClipSpec(arch="tiny-vit", weights=str(weights))
    store, clip = Store(root / "store"), LazyClip(spec)
    dataset = DatasetSpec(dataset="folder", videos=root / "videos", name="tiny")
    listing = read_listing(dataset)
    classes = register_classes(store, "tiny", listing.classes).artifact
    videos = register_videos(store, dataset, listing, classes).artifact
    texts = text_embeddings(store, clip, classes).artifact
    config = FrameConfig(num_frames=2, short_side=48)
    frames = frame_embeddings(
        store, clip, videos, root / "videos", config, encoding=EncodingOptions(precision="fp32")
    ).artifact
    negatives = mine(store, videos, frames, [texts], MiningConfig(top_k=2)).artifact
    templates = template_embeddings(store, clip, classes, TEMPLATES).artifact
    inputs = TrainInputs(
        classes, videos, texts, frames, negatives, (), templates, spec, root / "videos"
    )
    return store, inputs


def run_of(world, kind):
    store, inputs = world
    model, settings = RUNS[kind]
    config = override(RunConfig(model=model), [*QUICK, *settings])
    return train(store, inputs, config, kind.replace(", ", "-").replace(" ", "-")).artifact


@pytest.mark.parametrize("kind", list(RUNS))
def test_files_get_the_probabilities_of_evaluation_also_after_export(world, kind, tmp_path):
    store, inputs = world
    run = run_of(world, kind)
    rows = evaluate(store, run, inputs, "test")[0].artifact.read().to_pylist()
    model = classifier(store, run, inputs.clip)
    scored = [row for row in rows if row["protocol"] == model.method.primary]
    assert len(scored) == 3
    kept = export(store, run, tmp_path / "out", inputs.clip)
    loaded = load(tmp_path / "out")
    assert loaded.config == kept.config == model.config
    for row in scored:
        path = inputs.root / f"{row['video_id']}.mp4"
        top = model.top(path)
        assert [each["class_id"] for each in top] == row["top_class_ids"]
        found = [each["probability"] for each in top]
        assert found == pytest.approx(row["top_probabilities"], abs=1e-5)
        assert [each["name"] for each in top] == [sorted(NAMES)[c] for c in row["top_class_ids"]]
        pictures = model.read(path, (2, 3))
        assert torch.equal(pictures, loaded.read(path, (2, 3)))
        for protocol in model.protocols:
            one, two = (each.probabilities(pictures, protocol) for each in (model, loaded))
            torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["mgdm, last block", "actionclip, both towers"])
def test_trained_towers_load_into_plain_open_clip(world, kind, tmp_path):
    store, inputs = world
    run = run_of(world, kind)
    model = export(store, run, tmp_path / "out", inputs.clip)
    config = json.loads((tmp_path / "out/tiny-vit.json").read_text())
    plain = open_clip.CLIP(**config).eval()
    plain.load_state_dict(load_file(tmp_path / "out/clip.safetensors"), strict=True)
    original = load_clip(inputs.clip).model
    changed = {
        name.split(".")[0]
        for name, tensor in plain.state_dict().items()
        if not torch.equal(tensor, original.state_dict()[name])
    }
    towers = {"visual", "logit_scale"}
    if kind == "actionclip, both towers":
        towers |= {"transformer", "ln_final", "text_projection", "token_embedding"}
    assert changed >= towers
    assert (changed == towers) or "transformer" in towers
    pictures = model.read(next(inputs.root.rglob("7.mp4")))[0]
    with torch.no_grad():
        expected = plain.encode_image((pictures.float() - model.tower.mean) / model.tower.std)
        torch.testing.assert_close(model.tower(pictures[None])[0], expected)


def test_a_directory_is_written_whole_or_not_at_all(world, tmp_path):
    store, inputs = world
    run = run_of(world, "mgdm, cached")
    with pytest.raises(ValueError, match="give --clip tiny-vit and --clip-weights"):
        export(store, run, tmp_path / "out")
    other = ClipSpec(
        arch="tiny-vit", weights=str(save_random_clip(tmp_path / "b.safetensors", seed=1))
    )
    with pytest.raises(ValueError, match="but the model given is tiny-vit"):
        export(store, run, tmp_path / "out", other)
    assert not (tmp_path / "out").exists()
    export(store, run, tmp_path / "out", inputs.clip)
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {
        *("README.md", "clip.safetensors", "export.json", "model.safetensors", "tiny-vit.json")
    }
    assert str(tmp_path) not in (tmp_path / "out/export.json").read_text()
    with pytest.raises(ValueError, match="out is not empty"):
        export(store, run, tmp_path / "out", inputs.clip)
    with pytest.raises(ValueError, match="does not hold an exported model"):
        load(tmp_path)
    (tmp_path / "out/model.safetensors").write_bytes(b"damaged")
    with pytest.raises(ValueError, match="does not hold an exported model"):
        load(tmp_path / "out")


def test_what_cannot_be_predicted_is_said(world, tmp_path):
    store, inputs = world
    run = run_of(world, "mgdm, cached")
    model = classifier(store, run, inputs.clip)
    path = next(inputs.root.rglob("7.mp4"))
    assert sum(each["probability"] for each in model.top(path)) == pytest.approx(1, abs=1e-5)
    with pytest.raises(ValueError, match="no protocol 'all'; the run has mgdm/neighbours, mgdm"):
        model.top(path, protocol="all")
    (tmp_path / "broken.mp4").write_text("no video")
    with pytest.raises(VideoError, match="not a video file"):
        model.top(tmp_path / "broken.mp4")
    own = own_inputs(store, run)
    assert (own.classes, own.frames, own.clip) == (inputs.classes, inputs.frames, None)
    several = model.probabilities(model.read(path, (2, 1)))
    each = [model.probabilities(view[None]) for view in model.read(path, (2, 1))]
    np.testing.assert_allclose(several, torch.stack(each).mean(0), atol=1e-6)
