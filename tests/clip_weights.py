"""Random CLIP weights, saved as a real checkpoint."""

from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

TINY = Path(__file__).parent / "tiny-vit.json"
"""A ViT small enough for tests; open_clip then knows it as `tiny-vit`."""


def save_random_clip(path: Path, arch: str = "tiny-vit", seed: int = 0) -> Path:
    """Save a seeded random model of an architecture."""
    open_clip.add_model_config(TINY)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = open_clip.get_model_config(arch)
        quick_gelu = config.get("quick_gelu", False)
        model = open_clip.model.CLIP(
            config["embed_dim"], config["vision_cfg"], config["text_cfg"], quick_gelu
        )
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, {"quick_gelu": str(quick_gelu).lower()})
    return path
