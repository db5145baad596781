"""ActionCLIP equals its definition written pair by pair, in training and test."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip
from training.backbone.text_tower import TextTower
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import Batch
from training.data.class_list import ClassList
from training.data.order import EpochSeed
from training.distributed.group import Group
from training.evaluation.metrics import multilabel_metrics
from training.evaluation.tasks import multi_label
from training.loop.step import StepSeed, backward
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.model import ActionClip
from training.models.actionclip.prompts import family_templates, fill

BASE = RunConfig(model=ActionClipConfig())
SMALL = ["model.video.layers=1"]


def config_of(*settings_):
    return override(BASE, [*SMALL, *settings_])


@pytest.fixture(scope="module")
def text_clip(tmp_path_factory):
    path = save_random_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")
    return ClipSpec(arch="tiny-vit", weights=str(path))


def class_list(K, P, D, seed=0):
    generator = torch.Generator().manual_seed(seed)
    features = 3 * torch.randn(K, P, D, dtype=torch.float64, generator=generator)
    names = tuple(f"walk {c}" for c in range(K))
    ids = tuple(10 * c + 3 for c in range(K))
    return ClassList(ids, names, names, features[:, 0], None, 0, features)


def build(config, classes, dim=8, frames=3, seed=0, texts=None):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ActionClip(config.model, dim, frames, classes, None, texts).double()


def make_batch(B, T, D, classes, seed=0):
    generator = torch.Generator().manual_seed(seed)
    K = len(classes.class_ids)
    position = torch.randint(K, (B,), generator=generator)
    labels = torch.rand(B, K, generator=generator) < 0.4
    return Batch(
        video_ids=tuple(f"v{i}" for i in range(B)),
        clips=4 * torch.randn(B, T, D, dtype=torch.float64, generator=generator),
        class_ids_B=torch.tensor(classes.class_ids)[position],
        draws_B=torch.randint(2**31, (B,), generator=generator),
        columns={"labels_BK": labels},
    )


def literal_kl(logits, positives, target):
    """Row by row, entry by entry; rows without a positive do not count."""
    values = []
    for row, q in zip(logits, positives, strict=True):
        q = [float(each) for each in q]
        if not sum(q):
            continue
        if target == "softmax10":
            p = torch.softmax(10 * torch.tensor(q, dtype=torch.float64), 0)
        else:
            p = torch.tensor([each / sum(q) for each in q], dtype=torch.float64)
        log_s = row - torch.logsumexp(row, 0)
        values.append(sum(a * (a.log() - b) for a, b in zip(p, log_s, strict=True) if a > 0))
    return sum(values) / len(values) if values else logits.sum() * 0


def cosine(a, b):
    return (a @ b) / (a.norm() * b.norm())


def literal_loss(model, classes, batch):
    config, s = model.config, model.logit_scale.exp()
    templates = family_templates(config.text.templates)
    videos = [model.head(clip[None])[0] for clip in batch.clips]

    def text(c, number):
        if model.texts is None:
            return classes.templates_KPD[c, number]
        sentence = fill(templates[number], classes.prompt_names[c])
        return model.texts(model.texts.tokenize([sentence]))[0]

    P = len(templates)
    if config.multilabel:
        first = sum(int(draw) % P for draw in batch.draws_B)
        K = len(classes.class_ids)
        texts = [text(c, (first + c) % P) for c in range(K)]
        logits = torch.stack([torch.stack([s * cosine(v, t) for t in texts]) for v in videos])
        if config.multilabel == "kl":
            return literal_kl(logits, batch.columns["labels_BK"], config.loss.target)
        p = torch.sigmoid(logits + model.logit_bias)
        y = batch.columns["labels_BK"].double()
        return -(y * p.log() + (1 - y) * (1 - p).log()).mean()
    where = [classes.class_ids.index(int(c)) for c in batch.class_ids_B]
    texts = [text(c, int(draw) % P) for c, draw in zip(where, batch.draws_B, strict=True)]
    logits = torch.stack([torch.stack([s * cosine(v, t) for t in texts]) for v in videos])
    q = [[one == other for other in where] for one in where]
    target = config.loss.target
    return (literal_kl(logits, q, target) + literal_kl(logits.T, q, target)) / 2


@settings(max_examples=40, deadline=None)
@given(
    B=st.integers(1, 5),
    K=st.integers(1, 4),
    T=st.integers(1, 3),
    seed=st.integers(0, 10**6),
    target=st.sampled_from(["exact", "softmax10"]),
    multilabel=st.sampled_from(["null", "kl", "bce"]),
    family=st.sampled_from(["all", "prefix", "cloze", "suffix", "none"]),
    post=st.sampled_from(["meanP", "Conv_1D", "Transf"]),
)
def test_loss_and_gradients_equal_the_definition(B, K, T, seed, target, multilabel, family, post):
    settings_ = [f"model.text.templates={family}", f"model.video.post={post}"]
    settings_ += [f"model.multilabel={multilabel}"]
    if multilabel == "bce":
        settings_ += ["model.bias_init=-2"]
    else:
        settings_ += [f"model.loss.target={target}"]
    config = override(BASE, settings_ + (SMALL if post == "Transf" else []))
    classes = class_list(K, len(family_templates(family)), 8, seed)
    model = build(config, classes, 8, T, seed)
    with torch.no_grad():
        model.logit_scale.fill_(1.5)
    batch = make_batch(B, T, 8, classes, seed)
    ours = model.losses(model.encode(batch))["loss"]
    literal = literal_loss(model, classes, batch)
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)
    trained = list(model.parameters())
    one, other = (torch.autograd.grad(x, trained, allow_unused=True) for x in (ours, literal))
    for name, a, b in zip([n for n, _ in model.named_parameters()], one, other, strict=True):
        zero = torch.zeros(())
        a, b = (zero if each is None or not each.any() else each for each in (a, b))
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9, msg=name, check_dtype=False)


def full(text_clip, *settings_):
    """Trained text tower of width 64, three classes."""
    config = config_of("model.text.trainable=true", *settings_)
    classes = class_list(3, 1, 64)
    return build(config, classes, 64, 3, texts=TextTower(load_clip(text_clip))), classes


@pytest.mark.parametrize("multilabel", ["null", "kl", "bce"])
def test_a_trained_text_tower_sees_the_templates_that_were_drawn(text_clip, multilabel):
    extra = ["model.bias_init=-2"] if multilabel == "bce" else []
    model, classes = full(text_clip, f"model.multilabel={multilabel}", *extra)
    with torch.no_grad():
        model.logit_scale.fill_(1.0)
    batch = make_batch(4, 3, 64, classes, 1)
    ours = model.losses(model.encode(batch))["loss"]
    literal = literal_loss(model, classes, batch)
    torch.testing.assert_close(ours, literal, rtol=0, atol=1e-9)
    names = ["texts.text_projection", "texts.token_embedding.weight", "logit_scale"]
    trained = [model.get_parameter(name) for name in names]
    for a, b in zip(*(torch.autograd.grad(x, trained) for x in (ours, literal)), strict=True):
        assert a.any()
        torch.testing.assert_close(a, b, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("multilabel", ["null", "kl"])
@pytest.mark.parametrize("post", ["Transf", "Transf_cls"])
def test_parts_of_a_batch_give_the_gradient_of_the_whole(text_clip, multilabel, post):
    """With both towers' kind of parameters trained, in-batch negatives are those of the batch."""
    model, classes = full(text_clip, f"model.video.post={post}", f"model.multilabel={multilabel}")
    model.eval() if post == "Transf_cls" else model.train()  # dropout differs by place, not form
    parameters = [p for p in model.parameters() if p.requires_grad]
    batch = make_batch(5, 3, 64, classes, 2)

    def gradients(micro_batch):
        losses, count = backward(
            model, batch, StepSeed(0, 1), parameters, group=Group(), micro_batch=micro_batch
        )
        assert count == 5
        return losses["loss"], [p.grad.clone() for p in parameters if p.grad is not None]

    whole, parts = gradients(None), gradients(2)
    torch.testing.assert_close(parts[0], whole[0], rtol=0, atol=1e-9)
    assert len(parts[1]) == len(whole[1])
    for a, b in zip(parts[1], whole[1], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


@pytest.mark.parametrize("multilabel", ["null", "kl", "bce"])
def test_order_of_the_batch_does_not_matter(multilabel):
    config, classes = config_of(f"model.multilabel={multilabel}"), class_list(4, 16, 8)
    model, batch = build(config, classes), make_batch(5, 3, 8, classes)
    order = torch.tensor([3, 0, 4, 1, 2])
    mixed = model.losses(model.encode(batch.map(lambda each: each[order])))["loss"]
    torch.testing.assert_close(mixed, model.losses(model.encode(batch))["loss"])


def test_at_test_probabilities_are_averaged_over_templates():
    classes = class_list(4, 16, 8)
    for multilabel in (None, "kl", "bce"):
        config = config_of(f"model.multilabel={multilabel or 'null'}")
        model = build(config, classes)
        with torch.no_grad():
            model.logit_scale.fill_(2.0)
            if model.logit_bias is not None:
                model.logit_bias.fill_(-1.0)
        clips = make_batch(3, 3, 8, classes).clips
        found = model.protocols(classes)["actionclip"](model.features(clips))
        for i, clip in enumerate(clips):
            video = model.head(clip[None])[0]
            each = []
            for p in range(16):
                cosines = [cosine(video, classes.templates_KPD[c, p]) for c in range(4)]
                logits = model.logit_scale.exp() * torch.stack(cosines)
                each.append((logits - 1).sigmoid() if multilabel == "bce" else logits.softmax(0))
            torch.testing.assert_close(found[i], sum(each) / 16, rtol=0, atol=1e-12)
    assert model.primary == "actionclip"


def test_other_classes_than_those_of_training_can_be_scored(text_clip):
    other = class_list(7, 16, 8, seed=3)
    model = build(config_of(), class_list(4, 16, 8))
    assert model.protocols(other)["actionclip"](torch.randn(2, 3, 8).double()).shape == (2, 7)
    tuned, classes = full(text_clip, "model.text.templates=suffix")
    names = ("ride a bicycle", "bow")
    other = ClassList((0, 1), names, names, torch.zeros(2, 64), None, 0)
    with torch.no_grad():
        classify = tuned.protocols(other)["actionclip"]
    clips = make_batch(3, 3, 64, classes).clips
    video = F.normalize(tuned.head(clips), dim=-1)
    expected = 0
    for template in family_templates("suffix"):
        texts = tuned.texts(tuned.texts.tokenize([fill(template, name) for name in names]))
        expected += (tuned.logit_scale.exp() * video @ F.normalize(texts, dim=-1).T).softmax(1) / 3
    torch.testing.assert_close(classify(clips), expected, rtol=0, atol=1e-9)


def test_templates_drawn_depend_on_seed_epoch_and_video_only():
    ids = [f"class {i % 3}/video {i}" for i in range(640)]
    drawn = EpochSeed(0, 1).numbers(ids)
    assert torch.equal(EpochSeed(0, 1).numbers(ids[::-1]).flip(0), drawn)
    assert not torch.equal(EpochSeed(0, 2).numbers(ids), drawn)
    assert not torch.equal(EpochSeed(1, 1).numbers(ids), drawn)
    counts = torch.bincount(drawn % 16, minlength=16)
    assert counts.min() > 15
    assert counts.max() < 75
    assert 0 <= drawn.min() <= drawn.max() < 2**31


def test_loss_and_cosines_stay_in_float32_under_bfloat16_autocast():
    classes = class_list(4, 16, 8)
    model = build(config_of(), classes).float()
    batch = make_batch(4, 3, 8, classes)
    single = Batch(**vars(batch) | {"clips": batch.clips.float()})
    with torch.autocast("cpu", torch.bfloat16):
        loss = model.losses(model.encode(single))["loss"]
    assert loss.dtype == torch.float32
    exact = model.losses(model.encode(single))["loss"]
    assert abs(loss - exact) < 0.1 * exact


def test_logit_scale_stays_at_or_below_100():
    model = build(config_of(), class_list(2, 16, 8))
    with torch.no_grad():
        model.logit_scale.fill_(9.0)
    model.after_step()
    assert model.logit_scale.exp().item() == pytest.approx(100)


ALTERNATIVES = {
    "model.text.templates": "none",
    "model.video.post": "LSTM",
    "model.video.layers": "2",
    "model.video.heads": "2",
    "model.video.pos_emb_std": "1.0",
    "model.multilabel": "kl",
    "model.bias_init": "-3",
    "model.loss.target": "softmax10",
    "model.loss.empty": "uniform",
    "model.logit_scale.init": "20.0",
    "model.logit_scale.learnable": "false",
}
NEEDED = {
    "model.bias_init": ["model.multilabel=bce"],
    "model.loss.empty": ["model.multilabel=kl"],
    "model.video.post": ["model.video.layers=6"],
}
WITH_TOWERS = {"model.text.trainable", "model.video.pre", "model.video.within", "model.init"}
"""Tested with videos, in test_actionclip_runs.py."""


def fingerprint(*settings_):
    config = config_of(*settings_)
    classes = class_list(3, len(family_templates(config.model.text.templates)), 8)
    model = build(config, classes)
    batch = make_batch(4, 3, 8, classes)
    batch.columns["labels_BK"][0] = False
    with torch.no_grad():
        probabilities = model.protocols(classes)["actionclip"](batch.clips)
    loss = model.losses(model.encode(batch))["loss"]
    trained = sum(len(group) for group in model.parameter_groups().values())
    return (round(loss.item(), 12), round(probabilities[:, 0].sum().item(), 12), trained)


@pytest.mark.parametrize("key", ALTERNATIVES)
def test_every_switch_changes_something(key):
    base = NEEDED.get(key, [])
    assert fingerprint(*base, f"{key}={ALTERNATIVES[key]}") != fingerprint(
        *(base if key != "model.video.post" else [])
    )


def test_no_switch_is_forgotten():
    def names(values, prefix):
        for name, value in values.items():
            if isinstance(value, dict):
                yield from names(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    everything = set(names(ActionClipConfig().model_dump(), "model.")) - {"model.name"}
    assert everything == set(ALTERNATIVES) | WITH_TOWERS


@pytest.mark.parametrize(
    ("settings_", "message"),
    [
        (["model.video.pre=joint"], "has nothing to make of; set model.video.post=meanP"),
        (["model.video.pre=joint", "model.video.post=meanP"], "video.pre=joint has no effect"),
        (["model.video.within=shift"], "data.features is cached"),
        (
            ["data.features=videos", "model.video.pre=joint", "model.video.within=shift"],
            "choose one of them",
        ),
        (["model.video.post=LSTM", "model.video.layers=2"], "model.video.post is LSTM"),
        (["model.init=scratch"], "set model.text.trainable=true"),
        (["model.init=scratch", "model.text.trainable=true"], "vision.trainable=all"),
        (["model.init=vision_only", "model.text.trainable=true"], "data.features is cached"),
        (["model.loss.empty=uniform"], "every text has its own video"),
        (["model.multilabel=bce", "model.loss.target=softmax10"], "multilabel is bce"),
        (["model.bias_init=-3"], "only model.multilabel=bce"),
        (["model.multilabel=kl", "data.shots=2"], "data.shots=2 needs one class per video"),
        (["data.shots=0"], "data.shots=0: Input should be greater than or equal to 1"),
        (["model.video.post=mean"], "model.video.post=mean: Input should be 'meanP'"),
        (["model.negatives.k=3"], "unknown setting 'model.negatives.k'"),
        (["model.name=mgdm"], "model.name comes with the recipe; choose a recipe of mgdm"),
    ],
)
def test_combinations_without_sense_are_errors(settings_, message):
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as error:
        override(BASE, settings_)
    assert message in str(error.value)


@pytest.mark.parametrize(("multilabel", "factor"), [("bce", 55.0), ("kl", 45.0)])
def test_very_probable_classes_are_still_ranked(multilabel, factor):
    """In float32 a probability is 1 from a logit of 17 on, and average precision a matter of luck.

    Of four videos, ever nearer to the first class, the nearest alone has it.
    """
    texts_KD = torch.eye(2, 16)
    names = ("a", "b")
    classes = ClassList((3, 7), names, names, texts_KD, None, 0, texts_KD[:, None])
    settings_ = ["model.text.templates=none", "model.video.post=meanP", "model.logit_scale.init=1"]
    extra = ["model.bias_init=-10"] if multilabel == "bce" else []
    config = override(BASE, [f"model.multilabel={multilabel}", *settings_, *extra])
    model = ActionClip(config.model, 16, 1, classes)
    with torch.no_grad():
        model.logit_scale.fill_(math.log(factor))
    cosines_N = torch.tensor([0.7, 0.65, 0.75, 0.6])
    videos_ND = torch.zeros(4, 16)
    videos_ND[:, 0], videos_ND[:, 9] = cosines_N, (1 - cosines_N**2).sqrt()
    with torch.no_grad():
        found_NK = model.protocols(classes)["actionclip"](videos_ND[:, None])
    assert bool((found_NK[:, 0].float() == 1).all()), "they are saturated"
    ranked = [
        {"class_ids": [7, 3] if i == 2 else [7], "top_class_ids": [3, 7], "top_probabilities": row}
        for i, row in enumerate(found_NK.tolist())
    ]
    labels_NK = torch.tensor([[i == 2, True] for i in range(4)])
    assert multi_label.measure(ranked)["map"] == 1.0
    assert multilabel_metrics(found_NK, labels_NK)["map"] == 1.0
    assert multilabel_metrics(found_NK.float().double(), labels_NK)["map"] < 1.0


def test_heads_do_not_matter_for_one_frame():
    clips, found = torch.randn(4, 1, 16, generator=torch.Generator().manual_seed(0)), []
    for heads in (1, 4):
        torch.manual_seed(0)
        config = config_of(f"model.video.heads={heads}")
        model = ActionClip(config.model, 16, 1, class_list(3, 16, 16))
        found.append(model.embed_clips(clips))
    torch.testing.assert_close(*found)
