"""ActionCLIP's heads equal their definition written frame by frame, forward and gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.literal import attention, linear, norm
from training.models.actionclip.config import VideoPromptConfig
from training.models.actionclip.heads import temporal_head

HEADS = ("meanP", "Conv_1D", "LSTM", "Transf", "Transf_cls")


def build(post, dim, num_frames, seed=0, **settings_):
    if post in ("Transf", "Transf_cls"):
        settings_ = {"layers": 2, "heads": 2} | settings_
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        head = temporal_head(VideoPromptConfig(post=post, **settings_), dim, num_frames)
        with torch.no_grad():  # away from zeros and identities
            for p in head.parameters():
                p += 0.2 * torch.randn_like(p)
    return head.double().eval()


def literal_mean(head, frames):
    return sum(frames) / len(frames)


def literal_convolution(head, frames):
    T, D = len(frames), len(frames[0])
    w = head.conv.weight[:, 0]
    out = []
    for d in range(D):
        total = 0
        for t in range(T):
            total = total + frames[t][d]
            for offset in (-1, 0, 1):
                if 0 <= t + offset < T:
                    total = total + w[d, 1 + offset] * frames[t + offset][d]
        out.append(total / T)
    return torch.stack(out)


def literal_lstm(head, frames):
    D = len(frames[0])
    lstm, h, c, total = head.lstm, torch.zeros(D).double(), torch.zeros(D).double(), 0
    for x in frames:
        gates = lstm.weight_ih_l0 @ x + lstm.bias_ih_l0 + lstm.weight_hh_l0 @ h + lstm.bias_hh_l0
        i, f, g, o = gates.chunk(4)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        total = total + x + h
    return total / len(frames)


def literal_transformer(head, frames):
    tokens = [x + p for x, p in zip(frames, head.transformer.position, strict=False)]
    for block in head.transformer.blocks:
        mixed = attention([norm(x, block.ln_1) for x in tokens], block.attn)
        tokens = [x + m for x, m in zip(tokens, mixed, strict=True)]
        hidden = [linear(block.mlp[0], norm(x, block.ln_2)) for x in tokens]
        gated = [y * (1.702 * y).sigmoid() for y in hidden]
        tokens = [x + linear(block.mlp[2], y) for x, y in zip(tokens, gated, strict=True)]
    return sum(x + y for x, y in zip(frames, tokens, strict=True)) / len(frames)


def literal_class_token(head, frames):
    tokens = [x + p for x, p in zip([head.token, *frames], head.position, strict=False)]
    for block in head.encoder.layers:
        mixed = attention(tokens, block.self_attn)
        tokens = [norm(x + m, block.norm1) for x, m in zip(tokens, mixed, strict=True)]
        hidden = [linear(block.linear1, x).clamp(min=0) for x in tokens]
        tokens = [
            norm(x + linear(block.linear2, y), block.norm2)
            for x, y in zip(tokens, hidden, strict=True)
        ]
    return norm(tokens[0], head.encoder.norm)


LITERAL = dict(
    zip(
        HEADS,
        (
            literal_mean,
            literal_convolution,
            literal_lstm,
            literal_transformer,
            literal_class_token,
        ),
        strict=True,
    )
)


@settings(max_examples=4, deadline=None)
@given(B=st.integers(1, 2), T=st.integers(1, 4), seed=st.integers(0, 10**6))
@pytest.mark.parametrize("post", HEADS)
def test_heads_equal_their_definition(post, B, T, seed):
    head = build(post, 4, T, seed)
    generator = torch.Generator().manual_seed(seed)
    frames = torch.randn(B, T, 4, dtype=torch.float64, generator=generator, requires_grad=True)
    weights = torch.randn(B, 4, dtype=torch.float64, generator=generator)
    ours = head(frames)
    literal = torch.stack([LITERAL[post](head, list(clip)) for clip in frames])
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)
    wanted = [frames, *head.parameters()]
    gradients = [
        torch.autograd.grad((out * weights).sum(), wanted, allow_unused=True)
        for out in (ours, literal)
    ]
    for one, other in zip(*gradients, strict=True):
        if other is None:
            assert one is None or not one.any()
        else:
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


def test_the_convolution_starts_as_a_shift_of_a_quarter_of_the_channels_each_way():
    head = temporal_head(VideoPromptConfig(post="Conv_1D"), 8, 3)
    frames = torch.arange(24.0).view(1, 3, 8) + 1
    mixed = head.conv(frames.transpose(1, 2)).transpose(1, 2)[0]
    assert mixed[0].tolist() == [0, 0, 3, 4, 5, 6, 15, 16]
    assert mixed[1].tolist() == [1, 2, 11, 12, 13, 14, 23, 24]
    assert mixed[2].tolist() == [9, 10, 19, 20, 21, 22, 0, 0]
    scrambled = head.conv(frames.view(1, 8, 3))  # the released code's view instead of the axes
    assert not torch.equal(scrambled.transpose(1, 2)[0], mixed)


def test_initial_weights_are_those_of_the_method():
    torch.manual_seed(0)
    transf = temporal_head(VideoPromptConfig(), 128, 16).transformer
    assert len(transf.blocks) == 6
    assert transf.blocks[0].attn.num_heads == 2
    assert transf.blocks[0].ln_1.eps == 1e-12
    assert transf.position.std().item() == pytest.approx(0.02, rel=0.1)
    assert transf.blocks[5].mlp[0].weight.std().item() == pytest.approx(0.02, rel=0.1)
    with_token = temporal_head(VideoPromptConfig(post="Transf_cls", pos_emb_std=0.5), 64, 16)
    layer = with_token.encoder.layers[0]
    assert (layer.self_attn.num_heads, layer.linear1.out_features, layer.norm_first) == (
        8,
        2048,
        False,
    )
    assert layer.dropout1.p == 0.1
    assert with_token.position.shape == (17, 64)
    assert with_token.position.std().item() == pytest.approx(0.5, rel=0.1)


@pytest.mark.parametrize("post", HEADS)
def test_only_heads_with_an_order_see_the_order_of_frames(post):
    head = build(post, 8, 4)
    frames = torch.randn(2, 4, 8, dtype=torch.float64)
    same = torch.allclose(head(frames), head(frames.flip(1)), atol=1e-9)
    assert same == (post == "meanP")


@pytest.mark.parametrize("post", ["Transf", "Transf_cls"])
def test_heads_must_divide_the_width(post):
    with pytest.raises(
        ValueError, match=r"model\.video\.heads=3 does not divide the embedding width 8"
    ):
        temporal_head(VideoPromptConfig(post=post, heads=3), 8, 4)
