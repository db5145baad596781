"""Configs refuse what has no meaning; recipes are complete."""

import subprocess
import sys

import pytest
from pydantic import ValidationError

from training.config.negatives import NegativesConfig
from training.config.overrides import override, parse
from training.config.run import RunConfig
from training.models.actionclip.config import ActionClipConfig
from training.models.mgdm.config import MgdmConfig
from training.models.registry import recipe, recipe_names


def test_overrides_take_json_values_and_text():
    config = override(
        RunConfig(model=MgdmConfig()),
        [
            "model.negatives.k=3",
            "model.negatives.slice=[6, 9]",
            "model.discriminator.scope=batch",
            "model.pos_emb=false",
            "optim.lr=1e-3",
            "model.heads=null",
            "optim.betas=[0.8, 0.9]",
        ],
    )
    assert config.model.negatives.ranks == (6, 9)
    assert config.model.discriminator.scope == "batch"
    assert config.optim.lr == 1e-3
    assert config.optim.betas == (0.8, 0.9)
    assert not config.model.pos_emb


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "model.negatives.kk=3",
            "unknown setting 'model.negatives.kk'; nearest: model.negatives.k",
        ),
        ("lr=3", "unknown setting 'lr'; nearest: optim.lr"),
        ("model=3", "unknown setting 'model'"),
        ("optim.lr", "'optim.lr' is not a setting; write key=value"),
        ("optim.lr=fast", "optim.lr=fast: Input should be a valid number"),
        ("optim.lr=NaN", "optim.lr=NaN: "),
        ("optim.lr=-1", "optim.lr=-1: Input should be greater than 0"),
        ("model.guide=both", "model.guide=both: Input should be 'positive' or 'own'"),
        (
            "model.logit_scale.init=200",
            "model.logit_scale.init=200: Input should be 'clip' or Input should be less",
        ),
        ("optim.epochs=3", "optim.warmup_epochs=5 must be less than optim.epochs=3"),
        ("model.negatives.slice=[6, 9]", "slice=[6, 9] must hold model.negatives.k=7 ranks"),
        ("model.negatives.slice=[9]", "model.negatives.slice"),
    ],
)
def test_wrong_settings_are_named(setting, message):
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as error:
        override(RunConfig(model=MgdmConfig()), [setting])
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("settings", "named", "why"),
    [
        (["data.augmentation=rrc_gray"], "data.augmentation=rrc_gray", "data.features is cached"),
        (["data.normalize=imagenet"], "data.normalize=imagenet", "no picture"),
        (["data.short_side=224"], "data.short_side=224", "no picture"),
        (["vision.trainable=all"], "vision.trainable=all", "data.features is cached"),
        (["data.features=videos", "data.flip=false"], "data.flip=false", "augmentation is none"),
        (["data.features=videos", "vision.last_n=2"], "vision.last_n=2", "trainable is none"),
        (
            ["model.logit_scale.learnable=false", "optim.clip_lr_ratio=0.5"],
            "optim.clip_lr_ratio=0.5",
            "no parameter of CLIP",
        ),
        (["model.no_video_representer=true", "model.guide=own"], "model.guide=own", "mean of"),
        (["model.no_video_representer=true", "model.video_blocks=2"], "video_blocks=2", "mean of"),
        (["model.no_video_representer=true", "model.pos_emb=false"], "pos_emb=false", "mean of"),
        (["model.no_video_representer=true", "model.att.temperature=1"], "temperature=1", "mean"),
        (
            ["model.no_discriminator=true", "model.discriminator.blocks=3"],
            "blocks=3",
            "as they are",
        ),
        (["model.no_discriminator=true", "model.inference_context=self"], "=self", "as they are"),
        (
            ["model.no_discriminator=true", "model.no_video_representer=true", "model.heads=2"],
            "model.heads=2",
            "no block left",
        ),
        (["model.negatives.k=0", "model.guide=own"], "model.guide=own", "k is 0"),
        (["model.negatives.k=0", "model.negatives.corpus=union"], "corpus=union", "k is 0"),
        (["model.negatives.k=0", "model.loss.empty=uniform"], "empty=uniform", "k is 0"),
        (["model.negatives.k=0", "model.inference_context=neighbours"], "=neighbours", "`self`"),
        (["data.num_frames=1", "model.guide=own"], "model.guide=own", "its only frame"),
        (["data.num_frames=1", "model.att.temperature=1"], "temperature=1", "its only frame"),
        (["data.num_frames=1", "model.renorm_video=true"], "renorm_video=true", "unit length"),
        (
            ["data.num_frames=1", "model.no_discriminator=true", "model.heads=2"],
            "model.heads=2",
            "sees no other one",
        ),
    ],
)
def test_settings_without_effect_are_errors(settings, named, why):
    with pytest.raises(ValueError, match="has no effect") as error:
        override(RunConfig(model=MgdmConfig()), settings)
    assert named in str(error.value)
    assert why in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        (["model.video.pre=joint", "model.video.post=meanP"], "no other frame"),
        (["model.video.within=shift"], "no other frame"),
        (["model.video.heads=2"], "a frame sees no other one"),
    ],
)
def test_time_has_no_effect_on_one_frame(settings, why):
    given = ["data.features=videos", *settings]
    override(RunConfig(model=ActionClipConfig()), given)
    one = r"model\.video\.(pre|within|heads)=\w+ has no effect: data.num_frames is 1.*"
    with pytest.raises(ValueError, match=one + why):
        override(RunConfig(model=ActionClipConfig()), [*given, "data.num_frames=1"])


def test_configs_are_frozen_and_closed():
    config = RunConfig(model=MgdmConfig())
    with pytest.raises(ValidationError, match="frozen"):
        config.seed = 3
    with pytest.raises(ValueError, match=r"optim\.momentum"):
        parse({"model": {"name": "mgdm"}, "optim": {"momentum": 0.9}})


def test_a_stored_config_comes_back_equal():
    for name in recipe_names():
        config = recipe(name).config
        assert parse(config.model_dump(mode="json")) == config


def test_recipes_cover_the_tables_of_the_paper():
    names = recipe_names()
    assert sum(name.startswith("mgdm") for name in names) == 33
    best = recipe("mgdm_ucf101_k7")
    assert (best.expected_top1, best.expected_top5) == (0.981, 0.997)
    assert best.config.data.features == "videos"
    assert best.config.optim.lr == 5e-5
    bottom = recipe("mgdm_hmdb51_k3_bot")
    assert bottom.config.model.negatives.ranks == (6, 9)
    assert recipe("mgdm_kinetics400_k0").config.model.negatives.k == 0
    assert recipe("mgdm_ucf101_no_discriminator").config.model.no_discriminator
    for name in names:
        assert recipe(name).name == name


def test_unknown_recipe_names_its_neighbours():
    with pytest.raises(ValueError, match=r"unknown recipe 'mgdm_ucf_k7'; nearest: mgdm_ucf101_k7"):
        recipe("mgdm_ucf_k7")


def test_configs_and_recipes_do_not_load_torch():
    code = "import sys, training.models.registry; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("k", "corpus", "batch_size", "num_classes", "share"),
    [
        (7, "dataset", 64, 36, "84 % of the 36 classes"),
        (3, "dataset", 128, 101, "72 % of the 101 classes"),
        (7, "dataset", 16, 101, None),
        (7, "dataset", 256, 400, None),
        (7, "union", 64, 36, None),
        (0, "dataset", 64, 36, None),
    ],
)
def test_advice_where_a_batch_holds_most_classes(k, corpus, batch_size, num_classes, share):
    found = NegativesConfig(k=k, corpus=corpus).advice("model.x", batch_size, num_classes)
    if share is None:
        assert found is None
    else:
        assert found.startswith(f"model.x.k={k}: a batch of {batch_size} clips holds {share} as")
        assert found.endswith("compare with model.x.k=0")
