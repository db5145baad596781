"""Every switch of MGDM changes something, and the ablations remove what they say."""

import pytest
import torch
import torch.nn.functional as F

from tests.training.models.mgdm.pairs import build, config_of, loss_of, make_pairs
from training.models.mgdm.config import MgdmConfig

ALTERNATIVES = {
    "model.video_blocks": "2",
    "model.heads": "2",
    "model.pos_emb": "false",
    "model.pos_emb_std": "1.0",
    "model.att.normalize": "false",
    "model.att.temperature": "0.5",
    "model.guide": "own",
    "model.renorm_video": "true",
    "model.discriminator.blocks": "2",
    "model.discriminator.scope": "batch",
    "model.inference_context": "self",
    "model.no_video_representer": "true",
    "model.no_discriminator": "true",
    "model.loss.target": "softmax10",
    "model.loss.empty": "uniform",
    "model.logit_scale.init": "20.0",
    "model.logit_scale.learnable": "false",
}


def fingerprint(*settings_):
    model = build(config_of(*settings_), 8, 3)
    pairs = make_pairs(4, 2, 3, 8, 3, 0)
    loss = loss_of(model, pairs)
    logits = model.classify(pairs.clips, model.class_texts(pairs.columns["texts_BRD"][:, 0]))
    trained = sum(len(group) for group in model.parameter_groups().values())
    return (round(loss.item(), 12), round(logits.sum().item(), 12), trained)


@pytest.mark.parametrize("key", ALTERNATIVES)
def test_every_switch_changes_something(key):
    extra = []
    if key == "model.no_video_representer":
        extra = ["model.video_blocks=6"]
    if key == "model.no_discriminator":
        extra = ["model.discriminator.blocks=2"]
    assert fingerprint(f"{key}={ALTERNATIVES[key]}", *extra) != fingerprint()


def test_no_switch_is_forgotten():
    def names(values, prefix):
        for name, value in values.items():
            if isinstance(value, dict):
                yield from names(value, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}"

    elsewhere = {"model.name"} | {f"model.negatives.{name}" for name in ("k", "slice", "corpus")}
    assert set(names(MgdmConfig().model_dump(), "model.")) - elsewhere == set(ALTERNATIVES)


def test_ablations_remove_what_they_say():
    pairs = make_pairs(3, 2, 4, 8, 3, 0)
    config = config_of(
        "model.no_video_representer=true",
        "model.no_discriminator=true",
        "model.video_blocks=6",
        "model.discriminator.blocks=2",
    )
    model = build(config, 8, 4)
    assert [name for name, _ in model.named_parameters()] == ["logit_scale"]
    video = F.normalize(pairs.clips, dim=-1).mean(1)
    sims = 100 * torch.einsum("bd,mrd->bmr", video, F.normalize(pairs.columns["texts_BRD"], dim=-1))
    torch.testing.assert_close(model.similarities(model.encode(pairs)), sims, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        ["model.guide=own"],
        ["model.att.temperature=0.5"],
        ["model.renorm_video=true"],
        ["model.renorm_video=true", "model.no_video_representer=true", "model.video_blocks=6"],
        ["model.heads=2", "model.no_discriminator=true", "model.discriminator.blocks=2"],
    ],
)
def test_what_is_refused_of_one_frame_changes_nothing(settings):
    pairs, texts_KD = make_pairs(4, 2, 1, 8, 3, 0), make_pairs(5, 2, 1, 8, 3, 1).clips[:, 0]
    found = []
    for given in (settings, settings[1:]):
        model = build(config_of(*given), 8, 1)
        logits = model.classify(pairs.clips, model.class_texts(texts_KD))
        found.append(torch.cat([loss_of(model, pairs)[None], logits.flatten()]))
    torch.testing.assert_close(*found)
