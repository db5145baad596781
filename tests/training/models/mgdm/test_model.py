"""MGDM equals equations (4)-(9), (15) and (16) written out with all their duplicates."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip
from tests.training.models.mgdm.pairs import batch_of, build, config_of, loss_of, make_pairs
from training.backbone.image_tower import ImageTower
from training.config.data import VisionConfig
from training.config.optim import OptimConfig
from training.config.run import RunConfig
from training.layers.losses import soft_contrastive
from training.loop.optimizer import make_optimizer
from training.models.mgdm.config import MgdmConfig
from training.models.mgdm.model import Mgdm, guided_cosines, nearest_classes


def literal_loss(model, pairs):
    """L_b = L_t = b (1 + k) rows and columns, V of L_b x L_t x D, KL of eq. 9 in loops."""
    config = model.config
    b, R, D = pairs.columns["texts_BRD"].shape
    present = torch.ones(b, R, dtype=torch.bool)
    if pairs.columns.get("text_present_BR") is not None:
        present = pairs.columns["text_present_BR"]
    frames = model.represent(pairs.clips)
    if config.no_discriminator:
        E = pairs.columns["texts_BRD"][present]
    elif config.discriminator.scope == "batch":
        E = model.discriminator(pairs.columns["texts_BRD"][present][None])[0]
    else:
        each = [
            model.discriminator(texts[here][None])[0]
            for texts, here in zip(pairs.columns["texts_BRD"], present, strict=True)
        ]
        E = torch.cat(each)
    columns = [(m, r) for m in range(b) for r in range(R) if present[m, r]]
    rows = [i for i in range(b) for _ in range(R)]
    guides = torch.stack(
        [pairs.columns["texts_BRD"][m, r if config.guide == "own" else 0] for m, r in columns]
    )
    f = frames[rows]
    if config.att.normalize:
        f, guides = F.normalize(f, dim=-1), F.normalize(guides, dim=-1)
    V_att = torch.softmax(torch.einsum("btd,cd->bct", f, guides) / config.att.temperature, dim=-1)
    if config.no_video_representer:
        f = F.normalize(pairs.clips, dim=-1)[rows]
        V_att = torch.full_like(V_att, 1 / f.shape[1])
    V = torch.einsum("bct,btd->bcd", V_att, f)
    assert V.shape == (b * R, len(columns), D)
    if config.renorm_video:
        V = F.normalize(V, dim=-1)
    sims = model.logit_scale.exp() * torch.einsum("bcd,cd->bc", V, F.normalize(E, dim=-1))
    Q = torch.zeros_like(sims)
    for row, i in enumerate(rows):
        for column, (m, r) in enumerate(columns):
            Q[row, column] = float(
                pairs.columns["text_class_ids_BR"][i, 0] == pairs.columns["text_class_ids_BR"][m, r]
            )
    return (literal_kl(sims, Q, config.loss) + literal_kl(sims.T, Q.T, config.loss)) / 2


def literal_kl(sims, Q, loss):
    values = []
    for row, truth in zip(sims, Q, strict=True):
        if truth.sum() == 0 and loss.empty == "mask":
            continue
        if loss.target == "softmax10":
            truth = torch.softmax(10 * truth, dim=0)
        else:
            truth = (truth if truth.sum() else torch.ones_like(truth)) / (truth.sum() or len(truth))
        values.append(F.kl_div(row.log_softmax(0), truth, reduction="sum"))
    return torch.stack(values).mean()


@settings(max_examples=60, deadline=None)
@given(
    b=st.integers(1, 4),
    k=st.integers(0, 3),
    T=st.integers(1, 3),
    D=st.sampled_from([2, 6]),
    num_classes=st.integers(1, 4),
    seed=st.integers(0, 10**6),
    missing=st.sampled_from([0.0, 0.5]),
    foreign=st.sampled_from([0.0, 0.4]),
    target=st.sampled_from(["exact", "softmax10"]),
    empty=st.sampled_from(["mask", "uniform"]),
    guide=st.sampled_from(["positive", "own"]),
    scope=st.sampled_from(["sample", "batch"]),
    normalize=st.booleans(),
    renorm=st.booleans(),
    without=st.sampled_from(["nothing", "video_representer", "discriminator", "both"]),
)
def test_loss_and_gradients_equal_the_literal_equations(
    b,
    k,
    T,
    D,
    num_classes,
    seed,
    missing,
    foreign,
    target,
    empty,
    guide,
    scope,
    normalize,
    renorm,
    without,
):
    config = config_of().model_copy(
        update={
            "guide": guide,
            "renorm_video": renorm,
            "no_video_representer": without in ("video_representer", "both"),
            "no_discriminator": without in ("discriminator", "both"),
            "loss": MgdmConfig().loss.model_copy(update={"target": target, "empty": empty}),
            "discriminator": config_of().discriminator.model_copy(update={"scope": scope}),
            "att": MgdmConfig().att.model_copy(
                update={"normalize": normalize, "temperature": 0.1 if normalize else 1.0}
            ),
        }
    )
    model = build(config, D, T, seed)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
    pairs = make_pairs(b, k, T, D, num_classes, seed, missing, foreign)
    ours = loss_of(model, pairs)
    gradients = torch.autograd.grad(ours, list(model.parameters()))
    literal = literal_loss(model, pairs)
    expected = torch.autograd.grad(literal, list(model.parameters()))
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)
    for one, other in zip(gradients, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-9)


class _Largest(TorchDispatchMode):
    """Remembers the largest tensor any operation gives back, in the backward pass too."""

    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for item in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(item, torch.Tensor):
                self.numel = max(self.numel, item.numel())
        return out


@pytest.mark.parametrize("setting", ["model.guide=positive", "model.guide=own"])
def test_no_tensor_of_every_video_and_text_pair_is_built(setting):
    b, k, T, D = 16, 3, 4, 64
    model = build(config_of("model.negatives.k=3", setting), D, T)
    pairs = make_pairs(b, k, T, D, 5, 0)
    with _Largest() as largest:
        loss_of(model, pairs).backward()
    columns = b * (1 + k)
    assert largest.numel < b * columns * D, "V of every video and text was built"
    with _Largest() as largest:
        literal_loss(model, pairs)
    assert largest.numel >= columns * columns * D, "the measurement sees the literal form"


def test_both_forms_agree():
    generator = torch.Generator().manual_seed(0)
    frames, guides = (
        torch.randn(3, 4, 6, generator=generator),
        torch.randn(5, 6, generator=generator),
    )
    texts = torch.randn(5, 2, 6, generator=generator)
    for renorm in (False, True):
        for normalize in (False, True):
            one, other, chosen = (
                guided_cosines(
                    frames.double(),
                    guides.double(),
                    texts.double(),
                    normalize=normalize,
                    temperature=0.5,
                    renorm=renorm,
                    form=form,
                )
                for form in ("frames", "videos", None)
            )
            torch.testing.assert_close(one, other, rtol=0, atol=1e-12)
            assert torch.equal(chosen, other)


@pytest.mark.parametrize(
    ("b", "M", "R", "T", "trained"),
    [(32, 32, 8, 16, True), (256, 256, 8, 16, True), (8, 8, 1, 16, True), (64, 400, 1, 16, False)],
)
def test_the_form_with_fewer_operations_is_chosen(b, M, R, T, trained):
    """At the shapes of training (k = 7, and k = 0) and of test, on CLIP's width."""

    def operations(form):
        with torch.device("meta"):
            frames = torch.randn(b, T, 768, requires_grad=trained)
            guides, texts = torch.randn(M, 768), torch.randn(M, R, 768, requires_grad=trained)
        settings_ = {"normalize": True, "temperature": 0.01, "renorm": False}
        with FlopCounterMode(display=False) as counter:
            cosines = guided_cosines(frames, guides, texts, form=form, **settings_)
            if trained:
                cosines.sum().backward()
        return counter.get_total_flops()

    frames, videos = operations("frames"), operations("videos")
    assert operations(None) == min(frames, videos)
    assert (videos < frames) == (R > 1)
    literal = 2 * b * R * M * R * T * 768  # V of every pair of rows and columns
    assert R == 1 or operations(None) < literal / 8


def test_inference_equals_the_equations_at_k_0():
    model = build(config_of(), 8, 3)
    clips, classes = torch.randn(4, 3, 8).double(), torch.randn(5, 8).double()
    for context in ("all", "self", "neighbours"):
        logits = model.classify(clips, model.class_texts(classes, context))
        for c in range(5):
            near = [c, *(i for i in nearest_classes(classes, 2)[c].tolist() if i != c)]
            tokens = {"all": list(range(5)), "self": [c], "neighbours": near}[context]
            E = model.discriminator(classes[tokens][None])[0, tokens.index(c)]
            f = F.normalize(model.represent(clips), dim=-1)
            att = torch.softmax(f @ F.normalize(classes[c], dim=0) / 0.01, dim=1)
            V = (att[..., None] * f).sum(1)
            expected = model.logit_scale.exp() * V @ F.normalize(E, dim=0)
            torch.testing.assert_close(logits[:, c], expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["model.att.normalize=false"],
        ["model.no_video_representer=true", "model.video_blocks=6"],
    ],
)
def test_a_clip_alone_is_the_mean_of_the_frames_that_guidance_would_weight(settings):
    model = build(config_of(*settings), 8, 3)
    clips, no_guide = torch.randn(4, 3, 8).double(), torch.zeros(4, 8).double()
    expected = model.guided(model.represent(clips), no_guide)
    torch.testing.assert_close(model.embed_clips(clips), expected, rtol=0, atol=1e-12)


def test_nearest_classes_start_with_the_class_itself():
    classes = torch.tensor([[1.0, 0], [1, 0.1], [0, 1], [1, 0]])
    assert nearest_classes(classes, 2).tolist() == [[0, 3, 1], [1, 0, 3], [2, 1, 0], [3, 0, 1]]
    assert nearest_classes(classes, 9).shape == (4, 4)


def test_order_of_the_batch_does_not_matter():
    model = build(config_of(), 8, 3)
    pairs = make_pairs(5, 2, 3, 8, 3, 1, missing=0.4)
    order = torch.tensor([3, 0, 4, 1, 2])
    mixed = pairs.map(lambda each: each[order])
    torch.testing.assert_close(loss_of(model, mixed), loss_of(model, pairs))


def test_a_random_row_split_of_parameters_is_complete():
    model = build(config_of(), 8, 3)
    groups = model.parameter_groups()
    assert groups["clip"] == [model.logit_scale]
    assert len(groups["new"]) + 1 == len(list(model.parameters()))


def test_logit_scale_stays_at_or_below_100():
    model = build(config_of(), 8, 3)
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.after_step()
    assert model.logit_scale.exp().item() == pytest.approx(100)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"model\.heads=3 does not divide the embedding width 8"):
        build(config_of("model.heads=3"))


def test_similarities_stay_in_float32_under_bfloat16_autocast():
    config = config_of()
    model = build(config, 64, 3).float()
    pairs = make_pairs(4, 2, 3, 64, 3, 0)
    single = batch_of(
        pairs.clips.float(), pairs.columns["texts_BRD"].float(), pairs.columns["text_class_ids_BR"]
    )
    with torch.autocast("cpu", torch.bfloat16):
        sims = model.similarities(model.encode(single))
        loss = loss_of(model, single)
    assert sims.dtype == loss.dtype == torch.float32
    exact = loss_of(model, single)
    assert abs(loss - exact) < 0.1 * exact


def test_the_paper_has_37_8_million_new_parameters():
    """Table 8: CLIP ViT-L/14 258.7 M, MGDM 296.5 M; its counter leaves out attention."""
    with torch.device("meta"):
        model = Mgdm(MgdmConfig(), 768, 16)
    counted = sum(p.numel() for name, p in model.named_parameters() if ".mlp." in name)
    assert round(counted / 1e6, 1) == 37.8


def test_soft_contrastive_of_rows_repeated_is_the_same():
    """Why one row per video is enough."""
    pairs = make_pairs(4, 2, 3, 8, 3, 0)
    model = build(config_of(), 8, 3)
    sims = model.similarities(model.encode(pairs)).flatten(1)
    positives = (
        pairs.columns["text_class_ids_BR"][None] == pairs.columns["text_class_ids_BR"][:, :1, None]
    ).flatten(1)
    for target in ("exact", "softmax10"):
        for empty in ("mask", "uniform"):
            for one, q in ((sims, positives), (sims.T, positives.T)):
                axis = 0 if one is sims else 1
                many = one.repeat_interleave(3, dim=axis), q.repeat_interleave(3, dim=axis)
                torch.testing.assert_close(
                    soft_contrastive(*many, target, empty),
                    soft_contrastive(one, q, target, empty),
                    rtol=0,
                    atol=1e-9,
                )


@pytest.mark.parametrize("trainable", ["none", "last_n", "all"])
def test_clips_image_tower_is_trained_at_its_own_rate(tmp_path, trainable):
    weights = save_random_clip(tmp_path / "tiny.safetensors")
    clip = load_clip(ClipSpec(arch="tiny-vit", weights=str(weights)))
    tower = ImageTower(clip, VisionConfig(trainable=trainable), "clip")
    model = Mgdm(config_of(), 64, 2, tower)
    run = RunConfig(model=config_of(), optim=OptimConfig(lr=1e-3, clip_lr_ratio=0.25))
    rate = {
        id(p): group["lr"]
        for group in make_optimizer(model, run).param_groups
        for p in group["params"]
    }
    named = dict(model.named_parameters())
    assert rate.keys() == {id(p) for p in named.values() if p.requires_grad}
    for name, p in named.items():
        from_clip = name == "logit_scale" or name.startswith("tower.")
        assert rate.get(id(p), 0.00025) == (0.00025 if from_clip else 0.001), name
    in_tower = {name for name, p in tower.named_parameters() if p.requires_grad}
    everything = {name for name, _ in tower.named_parameters()}
    assert in_tower == everything if trainable == "all" else in_tower < everything
    assert bool(in_tower) == (trainable != "none")
