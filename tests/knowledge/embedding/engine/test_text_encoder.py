"""The fast text tower computes what open_clip's own does."""

from dataclasses import replace

import open_clip
import pytest
import torch

from knowledge.embedding.engine.text_encoder import TextEncoder, batches
from tests.clip_weights import TINY

TEXTS = [
    "walk",
    "a person who goes " + "up and down " * 20,
    "run",
    "brush one's teeth, slowly, in front of a mirror",
    "",
    "sit down",
    "walk " * 75,  # just as long as can be
]


def embedded(clip, texts):
    """Unit rows and lengths to the letter, from open_clip's own forward pass, one by one."""
    tokenize = open_clip.get_tokenizer(clip.identity["arch"])
    with torch.no_grad():
        features = torch.cat([clip.model.encode_text(tokenize([text])) for text in texts])
    return features / features.norm(dim=-1, keepdim=True), features.norm(dim=-1)


def changed(clip, text, quick=False):
    """The same with another text tower."""
    config = open_clip.get_model_config(TINY.stem)
    torch.manual_seed(0)
    text = config["text_cfg"] | text
    model = open_clip.model.CLIP(64, config["vision_cfg"], text, quick_gelu=quick).eval()
    for block in model.transformer.resblocks:
        torch.nn.init.normal_(block.attn.in_proj_bias)
    return replace(clip, model=model.requires_grad_(False))


@pytest.mark.parametrize("quick", [True, False])
def test_fp32_equals_open_clip(clip, quick):
    other = changed(clip.clip, {}, quick)
    encoder = TextEncoder(other, "fp32", tokens_per_batch=20)
    assert encoder.blocks
    units, norms = embedded(other, TEXTS)
    ours, lengths = encoder(TEXTS)
    torch.testing.assert_close(torch.from_numpy(ours), units, atol=2e-6, rtol=0)
    torch.testing.assert_close(torch.from_numpy(lengths), norms, atol=0, rtol=1e-5)


def test_bf16_moves_features_by_about_one_percent(clip):
    units, norms = embedded(clip.clip, TEXTS)
    encoder = TextEncoder(clip.clip, "bf16")
    assert encoder.blocks
    ours, lengths = encoder(TEXTS)
    assert ours.dtype == lengths.dtype == "float32"
    assert (torch.from_numpy(ours) * units).sum(dim=1).min() > 0.9997
    assert (torch.from_numpy(ours) - units).abs().max() > 1e-4
    torch.testing.assert_close(torch.from_numpy(lengths), norms, atol=0, rtol=0.03)
    assert {each.dtype for each in clip.clip.model.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "text",
    [
        {"no_causal_mask": True},
        {"pool_type": "last"},
        {"proj_bias": True},
        {"ls_init_value": 0.5},
    ],
    ids=lambda text: next(iter(text)),
)
def test_other_towers_run_as_they_are(clip, text):
    other = changed(clip.clip, text)
    units, _ = embedded(other, TEXTS)
    encoder = TextEncoder(other, "fp32", whole_texts_per_batch=2)
    assert not encoder.blocks
    torch.testing.assert_close(torch.from_numpy(encoder(TEXTS)[0]), units, atol=2e-6, rtol=0)
    halved = torch.from_numpy(TextEncoder(other, "bf16", whole_texts_per_batch=2)(TEXTS)[0])
    assert (halved * units).sum(dim=1).min() > 0.999
    assert (halved - units).abs().max() > 1e-4
    assert {each.dtype for each in other.model.parameters()} == {torch.float32}


def test_batches_hold_so_many_tokens_with_their_padding():
    lengths = torch.tensor([13, 13, 4, 3, 3, 3, 2, 2])
    order = torch.tensor([7, 6, 5, 4, 3, 2, 1, 0])
    found = batches(order, lengths, 12)
    assert [batch.tolist() for batch in found] == [[7], [6], [5, 4, 3], [2, 1, 0]]
    assert [len(batch) for batch in batches(order[3:], lengths[3:], 12)] == [4, 1]
