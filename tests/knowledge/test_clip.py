"""Loading is exact, identified by the weights, and refuses what would be silently wrong."""

import hashlib
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from knowledge.clip import ClipSpec, LazyClip, encode_frames, encode_texts, load_clip
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
    assert (clip.dim, clip.image_size) == (128, 112)


def test_identity_needs_no_model_and_follows_the_weights(clip_spec, tmp_path):
    lazy = LazyClip(clip_spec)
    assert lazy.identity == load_clip(clip_spec).identity
    assert "clip" not in vars(lazy)
    other = save_random_clip(tmp_path / "other.safetensors", seed=1)
    changed = LazyClip(ClipSpec(arch=clip_spec.arch, weights=str(other)))
    assert changed.identity != lazy.identity


def test_embeddings_equal_open_clips_own(clip_spec):
    clip = load_clip(clip_spec)
    images = torch.randint(0, 256, (3, 3, 112, 112), dtype=torch.uint8)
    units, norms = encode_frames(clip, images)
    mean = torch.tensor(open_clip.OPENAI_DATASET_MEAN).view(1, 3, 1, 1)
    std = torch.tensor(open_clip.OPENAI_DATASET_STD).view(1, 3, 1, 1)
    theirs = clip.model.encode_image((images / 255 - mean) / std)
    torch.testing.assert_close(units * norms[:, None], theirs, atol=1e-5, rtol=1e-4)
    texts = ["a person walks", "a person runs"]
    units, norms = encode_texts(clip, texts)
    theirs = clip.model.encode_text(open_clip.get_tokenizer("stickworld-clip")(texts))
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
    with pytest.raises(ValueError, match=r"stickworld-clip would run .*; use --clip"):
        load_clip(ClipSpec(arch="stickworld-clip", weights=str(path)))
    with pytest.raises(ValueError, match=r"ViT-B-32 would run tag 'openai'.*ViT-B-32-quickgelu"):
        load_clip(ClipSpec(arch="ViT-B-32", weights="openai"))


@pytest.mark.parametrize(
    ("arch", "weights", "message"),
    [
        ("ViT-B-23", "openai", "unknown CLIP architecture 'ViT-B-23'; near it: .*ViT-B-32"),
        ("ViT-B-32", "nowhere.pt", "neither a file nor a tag of ViT-B-32; give a checkpoint"),
        ("ViT-B-32", "bundled", "no bundled weights for 'ViT-B-32'"),
        ("stickworld-clip", "broken", "not a safetensors file"),
        ("stickworld-clip", "other", "does not hold weights of stickworld-clip"),
    ],
)
def test_wrong_models_are_one_clear_line(tmp_path, arch, weights, message):
    if weights == "broken":
        weights = str(tmp_path / "broken.safetensors")
        Path(weights).write_bytes(b"12345678 no header")
    if weights == "other":
        weights = str(tmp_path / "other.safetensors")
        save_file({"logit_scale": torch.ones(())}, weights)
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(ClipSpec(arch=arch, weights=weights))
    assert "\n" not in str(caught.value)
