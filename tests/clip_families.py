"""A small model of random weights for each family of open_clip's architectures."""

import json
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import save_file

_TEXT = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2}
_VISION = {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8}
_INCEPTION = {"mean": [0.5] * 3, "std": [0.5] * 3}


def _described(vision, text=None, dim=64, preprocess=None, **more) -> dict[str, Any]:
    config = {"embed_dim": dim, "vision_cfg": vision, "text_cfg": _TEXT | (text or {}), **more}
    return {"model_cfg": config, "preprocess_cfg": preprocess or {}}


FAMILIES = {
    "vit": _described(_VISION),
    "resnet": _described({"image_size": 32, "layers": [1, 1, 1, 1], "width": 16}),
    "convnext": _described(
        {
            "image_size": 64,
            "timm_model_name": "convnext_atto",
            "timm_pool": "",
            "timm_proj": "linear",
        },
    ),
    "eva": _described(
        {
            "image_size": 224,
            "timm_model_name": "eva02_tiny_patch14_224",
            "timm_pool": "token",
            "timm_proj": None,
        },
        dim=192,
        custom_text=True,
    ),
    "siglip": _described(
        {
            "image_size": 224,
            "timm_model_name": "vit_tiny_patch16_224",
            "timm_pool": "map",
            "timm_proj": "none",
        },
        {
            "context_length": 64,
            "no_causal_mask": True,
            "proj_bias": True,
            "pool_type": "last",
            "norm_kwargs": {"eps": 1e-6},
            "act_kwargs": {"approximate": "tanh"},
        },
        dim=192,
        custom_text=True,
        init_logit_bias=-10,
        preprocess=_INCEPTION | {"resize_mode": "squash", "interpolation": "bicubic"},
    ),
    "pe": _described(
        {
            "image_size": 384,
            "timm_model_name": "vit_pe_core_tiny_patch16_384",
            "timm_pool": "map",
            "timm_proj": None,
        },
        {"context_length": 32},
        dim=512,
        custom_text=True,
        preprocess=_INCEPTION | {"resize_mode": "squash", "interpolation": "bilinear"},
    ),
    "mobileclip": _described(
        {
            "image_size": 64,
            "timm_model_name": "fastvit_mci0",
            "timm_pool": "avg",
            "timm_proj": None,
        },
        {"no_causal_mask": True},
        dim=512,
        custom_text=True,
        preprocess={"mean": [0.0] * 3, "std": [1.0] * 3, "interpolation": "bilinear"},
    ),
    "coca": _described(
        _VISION
        | {
            "attentional_pool": True,
            "attn_pooler_queries": 4,
            "attn_pooler_heads": 2,
            "output_tokens": True,
        },
        {"context_length": 76, "embed_cls": True, "output_tokens": True},
        custom_text=True,
        multimodal_cfg={"context_length": 76, "width": 32, "heads": 2, "layers": 1},
        preprocess={"resize_mode": "longest", "fill_color": 7},
    ),
}
"""open_clip's description of each; the real ones have the same towers, larger."""


def save_family(directory: Path, family: str, seed: int = 0) -> str:
    """Save a model with its description; its name for `--clip`."""
    directory.mkdir(parents=True, exist_ok=True)
    described = FAMILIES[family]
    (directory / "open_clip_config.json").write_text(json.dumps(described))
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(f"local-dir:{directory}", load_weights=False)
        for module in model.modules():
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
                torch.nn.init.normal_(module.running_mean, std=0.1)
    state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
    save_file(state, directory / "open_clip_model.safetensors")
    return f"local-dir:{directory}"
