"""The fast image tower computes what open_clip's own does."""

from dataclasses import replace

import open_clip
import pytest
import torch
from open_clip.transformer import QuickGELU, ResidualAttentionBlock

from knowledge.clip.model import load_clip
from knowledge.clip.weights import BUNDLED, ClipSpec
from knowledge.embedding.config import resolve_precision
from knowledge.embedding.engine.blocks import Block, can_lay_out, is_known
from knowledge.embedding.engine.image_encoder import ImageEncoder, canary_images
from tests.clip_weights import TINY


@pytest.fixture(scope="module")
def images():
    return torch.randint(
        0, 256, (5, 3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0)
    )


def embedded(clip, images):
    """Unit rows and lengths to the letter, from open_clip's own forward pass."""
    mean = torch.tensor(clip.mean).view(1, 3, 1, 1)
    std = torch.tensor(clip.std).view(1, 3, 1, 1)
    with torch.no_grad():
        features = clip.model.encode_image((images / 255 - mean) / std)
    return features / features.norm(dim=-1, keepdim=True), features.norm(dim=-1)


def test_fp32_equals_open_clip(clip, images):
    encoder = ImageEncoder(clip.clip, "fp32")
    assert encoder.is_plain
    units, norms = embedded(clip.clip, images)
    ours, lengths = encoder(images)
    torch.testing.assert_close(torch.from_numpy(ours), units, atol=1e-6, rtol=0)
    torch.testing.assert_close(torch.from_numpy(lengths), norms, atol=0, rtol=1e-5)


def test_bf16_moves_features_by_about_one_percent(clip, images):
    units, norms = embedded(clip.clip, images)
    ours, lengths = ImageEncoder(clip.clip, "bf16")(images)
    assert ours.dtype == lengths.dtype == "float32"
    assert (torch.from_numpy(ours) * units).sum(dim=1).min() > 0.9997
    torch.testing.assert_close(torch.from_numpy(lengths), norms, atol=0, rtol=0.03)
    assert clip.clip.model.visual.conv1.weight.dtype == torch.float32


@pytest.mark.parametrize(
    "vision",
    [
        {"final_ln_after_pool": True},
        {"pool_type": "avg"},
        {"attentional_pool": True, "attn_pooler_heads": 2},
        {"layers": [1, 1, 1, 1], "head_width": 64},
        {"ls_init_value": 0.5, "patch_dropout": 0.5},
    ],
    ids=lambda vision: next(iter(vision)),
)
def test_other_towers_equal_open_clip_too(clip, images, vision):
    config = open_clip.get_model_config(TINY.stem)
    torch.manual_seed(0)
    model = open_clip.model.CLIP(64, config["vision_cfg"] | vision, config["text_cfg"]).eval()
    other = replace(clip.clip, model=model.requires_grad_(False))
    ours, _ = ImageEncoder(other, "fp32")(images)
    torch.testing.assert_close(
        torch.from_numpy(ours), embedded(other, images)[0], atol=2e-6, rtol=0
    )


@pytest.mark.parametrize("quick", [True, False])
@pytest.mark.parametrize(("dtype", "atol"), [(torch.float32, 2e-6), (torch.bfloat16, 0.06)])
def test_blocks_equal_those_of_open_clip(quick, dtype, atol):
    torch.manual_seed(0)
    kind = QuickGELU if quick else torch.nn.GELU
    theirs = ResidualAttentionBlock(64, 4, act_layer=kind).eval().requires_grad_(False)
    for bias in (theirs.attn.in_proj_bias, theirs.attn.out_proj.bias):
        torch.nn.init.normal_(bias)
    ours = Block(theirs, dtype, 3 * 7)
    assert is_known(theirs)
    assert ours.fc.weight.is_mkldnn == (dtype == torch.bfloat16 and can_lay_out())
    x = torch.randn(3, 7, 64)
    expected = theirs(x)
    torch.testing.assert_close(ours(x.to(dtype)).float(), expected, atol=atol, rtol=0)
    first = ours(x.to(dtype), queries=1).float()
    torch.testing.assert_close(first, expected[:, :1], atol=atol, rtol=0)
    ours.moved(torch.device("meta"))
    assert ours.fc.weight.shape == (256, 64)
    assert not ours.fc.weight.is_mkldnn
    assert ours(x.to("meta", dtype)).shape == x.shape


def test_a_row_does_not_depend_on_its_neighbours(clip, images):
    encoder = ImageEncoder(clip.clip, "fp32")
    other = images.clone()
    other[1:] = 7
    assert (encoder(images)[0][0] == encoder(other)[0][0]).all()


def test_precision_is_resolved_for_the_machine(clip_spec):
    has = torch.cpu.get_capabilities()
    fast = can_lay_out() and (has.get("avx512_bf16") or has.get("amx_bf16"))
    assert resolve_precision("auto", clip_spec, "cpu") == ("bf16" if fast else "fp32")
    assert resolve_precision("bf16", clip_spec, "cpu") == "bf16"
    bundled = ClipSpec(arch="stickworld-clip", weights=BUNDLED)
    assert resolve_precision("auto", bundled, "cpu") == "fp32"


def test_canary_images_are_always_the_same():
    images = canary_images(32)
    assert images.shape == (2, 3, 32, 32)
    assert images.flatten(1).long().sum(dim=1).tolist() == [391680, 391279]
    assert images[1].flatten()[:5].tolist() == [0, 187, 119, 51, 239]


def test_the_bundled_model_is_plain(images):
    clip = load_clip(ClipSpec(arch="stickworld-clip", weights=BUNDLED))
    assert ImageEncoder(clip, "fp32").is_plain
