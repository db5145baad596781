"""Random CLIP weights, saved as a real checkpoint."""

from pathlib import Path

import open_clip
import torch
from safetensors.torch import save_file

from knowledge.clip import MODELS


def save_random_clip(path: Path, arch: str = "stickworld-clip", seed: int = 0) -> Path:
    """Save a seeded random model of an architecture."""
    open_clip.add_model_config(MODELS)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = open_clip.create_model(arch, pretrained=None, load_weights=False)
    quick = bool(open_clip.get_model_config(arch).get("quick_gelu", False))
    state = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(state, path, {"quick_gelu": str(quick).lower()})
    return path
