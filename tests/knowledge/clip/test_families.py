"""Whatever open_clip offers is embedded as open_clip's own preprocessing and towers embed it."""

import json

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image

from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_frames, encode_texts, load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.engine.image_encoder import ImageEncoder
from knowledge.embedding.engine.text_encoder import TextEncoder
from knowledge.video.frames import resize_and_crop
from tests.clip_families import FAMILIES, save_family
from training.backbone.image_tower import ImageTower
from training.config.data import VisionConfig

TEXTS = ["walk", "a person who opens a door, slowly", "", "sit down " * 9]


def spec_of(arch):
    return ClipSpec.model_validate({"arch": arch})


@pytest.fixture(scope="module", params=list(FAMILIES))
def family(request, tmp_path_factory):
    """Name, open_clip's own model and preprocessing, and ours of the same weights."""
    torch.set_num_threads(1)
    arch = save_family(tmp_path_factory.mktemp("families") / request.param, request.param)
    theirs, transform = open_clip.create_model_from_pretrained(arch)
    return request.param, theirs.eval(), transform, load_clip(spec_of(arch))


def picture(height=70, width=110):
    """Smooth, as videos are: (3, H, W) uint8."""
    y, x = np.mgrid[0:height, 0:width] / 16
    waves = np.stack([np.sin(x), np.cos(y + x / 3), np.sin(x * y / 9)])
    return torch.from_numpy((127 + 100 * waves).astype(np.uint8))


def pictures():
    return [picture(), picture(110, 70), picture(300, 290)]


def squares(clip):
    size, resizing = clip.image_size, clip.preprocess.resizing
    return torch.cat([resize_and_crop(each[None], size, None, resizing) for each in pictures()])


def unit(features):
    return features / features.norm(dim=-1, keepdim=True)


def test_pictures_are_prepared_as_open_clip_prepares_them(family):
    _, _, transform, clip = family
    images = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pictures()]
    expected = torch.stack([transform(image) for image in images])
    levels = (clip.pixels(squares(clip)) - expected) * 255 * torch.tensor(clip.std).view(3, 1, 1)
    assert levels.abs().max() < 2.01  # of 255: PIL rounds between its two passes
    assert levels.abs().mean() < 0.01


def test_embeddings_are_those_of_open_clip(family):
    name, theirs, transform, clip = family
    images = [Image.fromarray(each.permute(1, 2, 0).numpy()) for each in pictures()]
    with torch.no_grad():
        seen = theirs.encode_image(torch.stack([transform(image) for image in images]))
        exact = theirs.encode_image(clip.pixels(squares(clip)), normalize=False)
        read = theirs.encode_text(open_clip.get_tokenizer(clip.spec.arch)(TEXTS), normalize=False)
    units, norms = encode_frames(clip, squares(clip))
    assert units.shape == (3, clip.dim)
    assert (units * unit(seen)).sum(dim=1).min() > 0.999  # but for that rounding
    torch.testing.assert_close(units * norms[:, None], exact, rtol=1e-4, atol=1e-5)
    units, norms = encode_texts(clip, TEXTS)
    torch.testing.assert_close(units * norms[:, None], read, rtol=1e-4, atol=1e-5)
    fast, lengths = map(torch.from_numpy, ImageEncoder(clip, "fp32")(squares(clip)))
    torch.testing.assert_close(fast, unit(exact), rtol=0, atol=1e-5)
    torch.testing.assert_close(lengths, exact.norm(dim=-1), rtol=1e-4, atol=1e-5)
    fast, lengths = map(torch.from_numpy, TextEncoder(clip, "fp32")(TEXTS))
    torch.testing.assert_close(fast, unit(read), rtol=0, atol=1e-5)
    torch.testing.assert_close(lengths, read.norm(dim=-1), rtol=1e-4, atol=1e-5)
    assert ImageEncoder(clip, "fp32").is_plain == (name == "vit")
    assert bool(TextEncoder(clip, "fp32").blocks) == (name in ("vit", "resnet", "convnext"))


def test_half_precision_is_near(family):
    _, _, _, clip = family
    for encoder, given in ((ImageEncoder, squares(clip)), (TextEncoder, TEXTS)):
        one, two = (torch.from_numpy(encoder(clip, p)(given)[0]) for p in ("fp32", "bf16"))
        assert (one * two).sum(dim=1).min() > 0.998


def test_the_tower_of_training_sees_the_same(family):
    _, _, _, clip = family
    with torch.no_grad():
        expected = clip.model.encode_image(clip.pixels(squares(clip)), normalize=False)
        tower = ImageTower(clip, VisionConfig(), "clip").eval()
        torch.testing.assert_close(tower(squares(clip)[None])[0], expected, rtol=1e-4, atol=1e-5)


def test_a_text_that_the_tokenizer_would_cut_is_refused(family):
    _, _, _, clip = family
    limit = FAMILIES[family[0]]["model_cfg"]["text_cfg"]["context_length"]
    just, longer = "walk " * (limit - 2), "walk " * (limit - 1)
    assert clip.tokens.count(just) == limit
    units, _ = encode_texts(clip, [just])
    assert units.shape == (1, clip.dim)
    message = rf"has {limit + 1} CLIP tokens, at most {limit} fit"
    for encode in (lambda texts: encode_texts(clip, texts), TextEncoder(clip, "fp32")):
        with pytest.raises(ValueError, match=message):
            encode(["walk", longer])


def test_identity_says_what_a_name_leaves_open(tmp_path):
    one = LazyClip(spec_of(save_family(tmp_path / "a/model", "siglip"))).identity
    assert one["arch"] == "local-dir:model"
    assert one["preprocess"] == "squash bicubic 0.5 0.5 0.5 0.5 0.5 0.5"
    same = LazyClip(spec_of(save_family(tmp_path / "b/model", "siglip"))).identity
    assert same == one
    path = tmp_path / "b/model/open_clip_config.json"
    described = json.loads(path.read_text())
    described["preprocess_cfg"]["resize_mode"] = "shortest"
    path.write_text(json.dumps(described))
    other = LazyClip(spec_of(f"local-dir:{path.parent}")).identity
    assert {key for key in one if one[key] != other[key]} == {"preprocess"}
    described["model_cfg"]["text_cfg"]["context_length"] = 63
    path.write_text(json.dumps(described))
    third = LazyClip(spec_of(f"local-dir:{path.parent}")).identity
    assert {key for key in other if third[key] != other[key]} == {"config_sha256"}
    plain = LazyClip(spec_of(save_family(tmp_path / "vit", "vit"))).identity
    assert "preprocess" not in plain
