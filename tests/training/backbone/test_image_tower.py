"""CLIP's towers as they are trained: time in the image tower, tokens in the text tower."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.clip.model import encode_frames, encode_texts, load_clip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip
from tests.training.literal import clip_block, norm
from training.backbone.image_tower import FROZEN_IMAGES, ImageTower, shifted
from training.backbone.initial_weights import restart
from training.backbone.text_tower import TextTower
from training.config.data import VisionConfig
from training.config.overrides import override
from training.config.run import RunConfig
from training.models.actionclip.config import ActionClipConfig
from training.models.build import check_tower


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = save_random_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")
    return ClipSpec(arch="tiny-vit", weights=str(path))


def build(weights, trainable="all", **prompts):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return ImageTower(load_clip(weights), VisionConfig(trainable=trainable), "clip", **prompts)


def clips(B, T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (B, T, 3, 32, 32), dtype=torch.uint8, generator=generator)


def literal_patches(visual, image):
    """The 16 patches of a normalised image, each a product with the convolution's kernel."""
    size = 8
    return [
        visual.conv1.weight.flatten(1) @ image[:, y : y + size, x : x + size].flatten()
        + visual.positional_embedding[1 + i]
        for i, (y, x) in enumerate((y, x) for y in range(0, 32, size) for x in range(0, 32, size))
    ]


def literal_features(tower, clip_T3SS):
    """One clip, token by token: (1, D) for joint, (T, D) otherwise."""
    visual, blocks = tower.visual, tower.visual.transformer.resblocks
    images = [(image.double() - tower.mean) / tower.std for image in clip_T3SS]
    first = visual.class_embedding + visual.positional_embedding[0]
    frames = [literal_patches(visual, image) for image in images]
    if tower.time is not None:
        sequence = [first]
        for patches, e in zip(frames, tower.time, strict=True):
            sequence += [patch + e for patch in patches]
        sequences = [sequence]
    else:
        sequences = [[first, *patches] for patches in frames]
    sequences = [[norm(x, visual.ln_pre) for x in sequence] for sequence in sequences]
    for block in blocks:
        if tower.shift:
            sequences = literal_shift(sequences)
        sequences = [clip_block(sequence, block) for sequence in sequences]
    return torch.stack([norm(sequence[0], visual.ln_post) @ visual.proj for sequence in sequences])


def literal_shift(sequences):
    """Channel by channel: the first eighth from the next frame, the second from the one before."""
    T, width = len(sequences), len(sequences[0][0])
    moved = []
    for t in range(T):
        tokens = [sequences[t][0]]
        for p in range(1, len(sequences[t])):
            source = [1] * (width // 8) + [-1] * (width // 8) + [0] * (width - 2 * (width // 8))
            tokens.append(
                torch.stack(
                    [
                        sequences[t + s][p][d] if 0 <= t + s < T else torch.tensor(0.0).double()
                        for d, s in enumerate(source)
                    ]
                )
            )
        moved.append(tokens)
    return moved


@pytest.mark.parametrize(
    ("prompts", "rows"), [({}, 2), ({"joint_frames": 2}, 1), ({"shift": True}, 2)]
)
def test_features_and_gradients_equal_the_definition(weights, prompts, rows):
    tower = build(weights, **prompts).double()
    batch = clips(1, 2)
    ours = tower(batch)
    literal = literal_features(tower, batch[0])[None]
    assert ours.shape == (1, rows, 64)
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)
    trained = list(tower.parameters())
    probe = torch.randn(1, rows, 64, dtype=torch.float64)
    one, other = (torch.autograd.grad((out * probe).sum(), trained) for out in (ours, literal))
    for name, a, b in zip([n for n, _ in tower.named_parameters()], one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=name)


@settings(max_examples=10, deadline=None)
@given(
    B=st.integers(1, 3),
    T=st.integers(1, 4),
    L=st.integers(1, 3),
    W=st.sampled_from([4, 8, 17]),
)
def test_shift_moves_an_eighth_of_the_patches_each_way(B, T, L, W):
    tokens = torch.randn(B * T, L, W, dtype=torch.float64)
    expected = [
        torch.stack([torch.stack(frame) for frame in literal_shift([list(f) for f in clip])])
        for clip in tokens.view(B, T, L, W)
    ]
    assert torch.equal(shifted(tokens, T), torch.cat(expected))


@pytest.mark.parametrize("prompts", [{"joint_frames": 5}, {"shift": True}, {}])
def test_frozen_passes_in_parts_equal_the_whole(weights, prompts):
    tower = build(weights, "none", **prompts)
    batch = clips(FROZEN_IMAGES // 5 + 2, 5)
    with torch.no_grad():
        one_by_one = torch.cat([tower(clip[None]) for clip in batch])
        torch.testing.assert_close(tower(batch), one_by_one, rtol=0, atol=1e-5)


def test_plain_frozen_features_are_those_that_mining_stores(weights):
    tower, clip = build(weights, "none"), load_clip(weights)
    batch = clips(2, 3)
    units, norms = encode_frames(clip, batch.flatten(0, 1))
    assert tower.frozen_clip
    torch.testing.assert_close(
        tower(batch).flatten(0, 1), units * norms[:, None], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("prompts", "moves"), [({}, False), ({"joint_frames": 3}, True), ({"shift": True}, True)]
)
def test_the_order_of_frames_matters_with_time_only(weights, prompts, moves):
    tower = build(weights, "none", **prompts)
    batch = clips(1, 3)
    one, other = tower(batch).mean(1), tower(batch.flip(1)).mean(1)
    assert torch.allclose(one, other, atol=1e-5) != moves
    assert tower.frozen_clip != moves


def test_an_embedding_of_time_is_trained_though_clip_is_frozen(weights):
    tower = build(weights, "none", joint_frames=3)
    assert [n for n, p in tower.named_parameters() if p.requires_grad] == ["time"]
    tower(clips(2, 3)).sum().backward()
    assert tower.time.grad.abs().min() > 0
    assert tower.time.std().item() == pytest.approx(64**-0.5, rel=0.2)
    assert build(weights, joint_frames=3).time.shape == (3, 64)


def test_texts_equal_frozen_clip_and_the_definition(weights):
    clip = load_clip(weights)
    texts = ["a photo of action brush hair", "run", "Look, the human is riding a bicycle"]
    tower = TextTower(load_clip(weights))
    tokens = tower.tokenize(texts)
    assert tokens.shape[1] < 77, "only what the longest text takes"
    units, norms = encode_texts(clip, texts)
    torch.testing.assert_close(tower(tokens), units * norms[:, None], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(tower.embed(tokens), tower(tokens), rtol=0, atol=1e-6)
    tower = tower.double()
    literal = torch.stack([literal_text(tower, row.tolist()) for row in tokens])
    ours = tower(tokens)
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)
    trained = list(tower.parameters())
    one, other = (torch.autograd.grad(out.square().sum(), trained) for out in (ours, literal))
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


def literal_text(tower, row):
    row = [token for token in row if token]
    tokens = [
        tower.token_embedding.weight[token] + tower.positional_embedding[i]
        for i, token in enumerate(row)
    ]
    for block in tower.transformer.resblocks:
        tokens = clip_block(tokens, block, causal=True)
    return norm(tokens[-1], tower.ln_final) @ tower.text_projection


def test_a_text_that_does_not_fit_is_an_error(weights):
    with pytest.raises(ValueError, match="CLIP tokens, at most 77 fit"):
        TextTower(load_clip(weights)).tokenize(["word " * 90])


def test_towers_start_from_clip_or_not(weights):
    def changed(init):
        clip, before = load_clip(weights), load_clip(weights).model.state_dict()
        with torch.random.fork_rng():
            torch.manual_seed(1)
            restart(clip, init)
        after = clip.model.state_dict()
        names = [name for name in after if not torch.equal(after[name], before[name])]
        return {name.startswith("visual.") for name in names}, names

    assert changed("clip") == (set(), [])
    where, names = changed("vision_only")
    assert where == {False}
    assert {"token_embedding.weight", "text_projection"} <= set(names)
    assert "logit_scale" not in names
    where, names = changed("scratch")
    assert where == {False, True}
    assert {"visual.proj", "visual.conv1.weight", "positional_embedding"} <= set(names)


def test_the_tower_keeps_evaluation_mode(weights):
    """A ResNet in training mode would move its batch statistics, frozen or not."""
    tower = build(weights)
    tower.eval()
    tower.train()
    assert tower.training
    assert not any(module.training for module in tower.visual.modules())


def test_time_enters_no_other_tower_than_the_plain_vision_transformer(weights):
    config = RunConfig(model=ActionClipConfig())
    videos = override(config, ["data.features=videos", "model.video.within=shift"])
    check_tower(load_clip(weights).model.visual, videos)
    check_tower(torch.nn.Identity(), config)
    with pytest.raises(ValueError, match="need open_clip's vision transformer, this") as error:
        check_tower(torch.nn.Identity(), videos)
    assert str(error.value) == (
        "model.video.pre and model.video.within need open_clip's vision transformer, this tower is "
        "Identity; choose another --clip or set both to none"
    )
