"""Recipes are complete, state what they should reach and need, and run on the demo world."""

import pytest
from open_clip import CLIP, get_model_config
from torch import device as torch_device

from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.recipes import SHOTS, STICKWORLD
from training.models.mgdm.config import MgdmConfig
from training.models.recipe import TOWERS, multiply_adds, needs, on_stickworld
from training.models.registry import baselines, recipe, recipe_names


def test_every_number_of_actionclip_has_a_recipe():
    cells = {
        "kinetics400_b32_8f": (0.7836, 0.9425),
        "kinetics400_b16_8f": (0.8109, 0.9549),
        "kinetics400_b16_16f": (0.8168, 0.9587),
        "kinetics400_b16_32f": (0.8232, 0.9620),
        "kinetics400_b16_32f_10x3": (0.838, 0.971),
        "hmdb51": (0.762, None),
        "ucf101": (0.971, None),
    }
    for cell, expected in cells.items():
        each = recipe(f"actionclip_{cell}")
        assert (each.expected_top1, each.expected_top5) == expected
        assert each.config.vision.trainable == "all"
        assert each.config.data.augmentation == "tsn_color"
        assert each.config.data.rand_augment == cell.startswith("kinetics")
        assert each.config.model.text.trainable
        optim = each.config.optim
        assert optim.lr * optim.clip_lr_ratio == pytest.approx(5e-6)
        assert (optim.betas, optim.epochs, optim.batch_size) == ((0.9, 0.98), 50, 128)
    assert recipe("actionclip_kinetics400_b16_32f_10x3").config.eval.num_views == (10, 3)
    charades = recipe("actionclip_charades")
    assert (charades.expected_map, charades.config.model.multilabel) == (0.443, "kl")
    assert recipe("actionclip_kinetics400_joint").config.model.video.pre == "joint"
    assert recipe("actionclip_kinetics400_shift").config.model.video.within == "shift"
    assert recipe("actionclip_kinetics400_no_prompt").config.model.text.templates == "none"


def test_the_demo_world_has_the_tables_of_heads_prompts_and_shots():
    configs = {v: recipe(f"actionclip_stickworld_{v}").config for v in STICKWORLD}
    heads = {config.model.video.post for config in configs.values()}
    assert heads == {"meanP", "Conv_1D", "LSTM", "Transf", "Transf_cls"}
    families = {config.model.text.templates for config in configs.values()}
    assert families == {"all", "prefix", "cloze", "suffix", "none"}
    assert [configs[f"shots{k}"].data.shots for k in SHOTS] == [1, 2, 4, 8, 16]
    assert configs["transf"].data.features == "cached"
    trained = {v for v, config in configs.items() if config.model.text.trainable}
    assert set(configs) - trained == {"text_frozen"}
    assert configs["joint"].data.features == "videos"


def test_on_the_demo_world_a_recipe_keeps_its_method():
    for name in recipe_names():
        there, here = recipe(name), on_stickworld(recipe(name))
        assert here.dataset == "stickworld"
        assert here.expected_top1 is None
        changed = {
            key: value
            for key, value in here.config.model.model_dump().items()
            if value != there.config.model.model_dump()[key]
        }
        if isinstance(there.config.model, ActionClipConfig):
            assert changed.keys() <= {"video"}
            before = there.config.model.video.model_dump() | {"pos_emb_std": 1.0}
            assert changed.get("video", before) == before
        elif isinstance(there.config.model, MgdmConfig):
            assert changed in ({}, {"pos_emb_std": 1.0})
        else:
            assert here.config.model == there.config.model.at_demo_scale()
        assert on_stickworld(here).config == here.config


def test_a_recipe_under_two_names_says_so():
    for here in baselines():
        there = recipe(here.name.removesuffix("_stickworld"))
        same = here.config == there.config
        assert same or here.name not in ("linear_probe_stickworld", "prototype_stickworld")
        how = "with the same settings" if same else "at its scale"
        assert here.about.startswith(f"{there.name} on the demo world, {how}")


def test_costs_are_counted_from_the_models_themselves():
    for arch, tower in TOWERS.items():
        config = get_model_config(arch)
        with torch_device("meta"):
            visual = CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"]).visual
        side, patches, width, blocks = tower
        assert visual.conv1.weight.shape == (width, 3, side, side)
        assert len(visual.positional_embedding) == patches + 1
        assert len(visual.transformer.resblocks) == blocks
    assert multiply_adds(TOWERS["ViT-B-16-quickgelu"]) == pytest.approx(17.56e9, rel=1e-3)
    large = recipe("mgdm_kinetics400_k7")
    assert large.hours == pytest.approx(6 * 81.0e9 * 16 * 234_619 * 20 / 1e14 / 3600, rel=1e-2)
    assert needs(large) == "kinetics400 videos, OpenAI weights; about 101 GPU hours"
    assert needs(recipe("mgdm_small")) == "mined embeddings; a CPU, minutes"
    assert recipe("actionclip_kinetics400_b32_8f").hours < 10


def test_what_a_recipe_starts_from_has_its_weights():
    """A recipe's start is another one's run of the same model, on a dataset of its own."""
    starting = [each for each in map(recipe, recipe_names()) if each.start]
    assert {each.name for each in starting} >= {"actionclip_hmdb51", "actionclip_ucf101"}
    for each in starting:
        first = recipe(each.start)
        assert (first.config.model, first.clip) == (each.config.model, each.clip)
        assert first.config.data.num_frames == each.config.data.num_frames
        assert first.dataset not in (None, each.dataset)
