"""Loading is exact, identified by the weights, and refuses what would be silently wrong."""

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import open_clip
import pytest
import torch
from open_clip import pretrained
from safetensors.torch import load_file, save_file

from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_frames, encode_texts, load_clip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip


def test_weights_are_loaded_exactly_and_frozen(clip_spec):
    clip = load_clip(clip_spec)
    saved = load_file(clip_spec.weights)
    for name, value in clip.model.state_dict().items():
        assert torch.equal(value, saved[name]), name
    assert not clip.model.training
    assert not any(p.requires_grad for p in clip.model.parameters())
    assert (
        clip.identity["weights_sha256"]
        == hashlib.sha256(Path(clip_spec.weights).read_bytes()).hexdigest()
    )
    assert (clip.dim, clip.image_size) == (64, 32)


def test_identity_needs_no_model_and_follows_the_weights(clip_spec, tmp_path):
    lazy = LazyClip(clip_spec)
    assert lazy.identity == load_clip(clip_spec).identity
    assert "clip" not in vars(lazy)
    other = save_random_clip(tmp_path / "other.safetensors", seed=1)
    changed = LazyClip(ClipSpec(arch=clip_spec.arch, weights=str(other)))
    assert changed.identity != lazy.identity


def test_embeddings_equal_open_clips_own(clip_spec):
    clip = load_clip(clip_spec)
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    units, norms = encode_frames(clip, images)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    theirs = clip.model.encode_image((images / 255 - mean) / std)
    torch.testing.assert_close(units * norms[:, None], theirs, atol=1e-5, rtol=1e-4)
    texts = ["a person walks", "a person runs"]
    units, norms = encode_texts(clip, texts)
    theirs = clip.model.encode_text(open_clip.get_tokenizer("tiny-vit")(texts))
    torch.testing.assert_close(units * norms[:, None], theirs, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(units.norm(dim=1), torch.ones(2))


def test_a_long_text_is_an_error(clip_spec):
    clip = load_clip(clip_spec)
    encode_texts(clip, ["walk " * 75])
    with pytest.raises(ValueError, match="has 78 CLIP tokens, at most 77 fit"):
        encode_texts(clip, ["short", "walk " * 76])


def test_the_other_gelu_is_an_error(tmp_path, clip_spec):
    path = tmp_path / "quick.safetensors"
    save_file(load_file(clip_spec.weights), path, {"quick_gelu": "true"})
    with pytest.raises(ValueError, match=r"tiny-vit would run .*; use --clip"):
        load_clip(ClipSpec(arch="tiny-vit", weights=str(path)))
    with pytest.raises(ValueError, match=r"ViT-B-32 would run tag 'openai'.*ViT-B-32-quickgelu"):
        load_clip(ClipSpec(arch="ViT-B-32", weights="openai"))


@pytest.mark.parametrize(
    ("arch", "weights", "message"),
    [
        ("ViT-B-23", "openai", "unknown CLIP architecture 'ViT-B-23'; near it: .*ViT-B-32"),
        ("ViT-B-32", "nowhere.pt", "neither a file nor a tag of ViT-B-32; give a checkpoint"),
        ("ViT-B-32", "bundled", "no bundled weights for 'ViT-B-32'"),
        ("tiny-vit", "broken", "not a safetensors file"),
        ("tiny-vit", "other", "does not hold weights of tiny-vit: it has no pos"),
        ("tiny-vit", "more", "of tiny-vit: its more has no place there; give"),
        ("tiny-vit", "wide", r": its text_projection is \(7, 7\) instead of \(\d+, 64\)"),
    ],
)
def test_wrong_models_are_one_clear_line(tmp_path, clip_spec, arch, weights, message):
    changes = {"more": {"more": torch.ones(1)}, "wide": {"text_projection": torch.ones(7, 7)}}
    if weights in changes:
        saved = load_file(clip_spec.weights) | changes[weights]
        weights = str(tmp_path / f"{weights}.safetensors")
        save_file(saved, weights)
    if weights == "broken":
        weights = str(tmp_path / "broken.safetensors")
        Path(weights).write_bytes(b"12345678 no header")
    if weights == "other":
        weights = str(tmp_path / "other.safetensors")
        save_file({"logit_scale": torch.ones(())}, weights)
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(ClipSpec(arch=arch, weights=weights))
    assert "\n" not in str(caught.value)


def test_loading_prints_nothing(clip_spec):
    script = (
        "import logging, sys\n"
        "import open_clip\n"
        "from knowledge.clip.model import ClipSpec, load_clip\n"
        "from tests.clip_weights import TINY\n"
        "open_clip.add_model_config(TINY)\n"
        "load_clip(ClipSpec(arch=sys.argv[1], weights=sys.argv[2]))\n"
        "assert not logging.root.handlers and logging.root.level == logging.WARNING\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, clip_spec.arch, clip_spec.weights],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_tag_that_cannot_be_fetched_is_one_line(tmp_path, monkeypatch, caplog):
    def fetch(tag):
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        raise OSError("no route\nto host")

    monkeypatch.setattr(pretrained, "download_pretrained", fetch)
    with pytest.raises(ValueError, match=r"cannot be fetched \(no route\); give a local") as caught:
        load_clip(ClipSpec(arch="ViT-B-32", weights="laion2b_s34b_b79k"))
    assert "\n" not in str(caught.value)
    assert caplog.records == []
