"""Which of open_clip's architectures go the whole way with random weights, and what refuses them.

Run from the repository root: `python tests/benchmarks/architectures.py [ARCH...]`. A small model of
each family, or the architectures named, is registered with nothing but its random weights: videos
are mined, MGDM is trained for one epoch on cached embeddings, a file is predicted. Then come the
methods that run towers themselves: the image tower's last block, time within it, the text tower.
"""

import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import open_clip
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from flows.cli import app
from knowledge.embedding.engine.client import close_idle
from tests.clip_families import FAMILIES, save_family
from tests.video_files import moving, write_video

TRAIN = (
    *("train", "--dataset", "tiny", "--set", "data.num_frames=2", "--set", "optim.epochs=1"),
    *("--set", "optim.warmup_epochs=0", "--videos", "videos"),
)
CACHED = (*TRAIN[:-2], "--recipe", "mgdm_small", "--set", "model.negatives.k=1", "--name", "run")
VIDEOS = ("--set", "data.features=videos", "--set", "data.short_side=400")
ACTIONCLIP = (*TRAIN, *VIDEOS, "--recipe")
TOWERS = {
    "last block": (
        *(*TRAIN, "--recipe", "mgdm_small", *VIDEOS, "--set", "model.negatives.k=1"),
        *("--set", "vision.trainable=last_n"),
    ),
    "time": (*ACTIONCLIP, "actionclip_stickworld_shift"),
    "text tower": (*ACTIONCLIP, "actionclip_stickworld_meanp"),
}


def actionlore(*words):
    """One line: `passes`, or the error; and the whole of it."""
    done = CliRunner().invoke(app, [str(each) for each in words])
    if done.exit_code == 0:
        return "passes", done.output
    lines = done.stderr.strip().splitlines() or [repr(done.exception)]
    return lines[-1], done.output


def options(arch):
    """How the command is told a model of random weights."""
    if arch in FAMILIES:
        return "--clip", save_family(Path(f"model-{arch}"), arch)
    torch.manual_seed(0)
    path = Path(f"{arch}.safetensors")
    if not path.exists():
        model = open_clip.create_model(arch, pretrained=None, pretrained_text=False)
        state = {name: value.contiguous().clone() for name, value in model.state_dict().items()}
        quick = str(open_clip.get_model_config(arch).get("quick_gelu", False)).lower()
        save_file(state, path, {"quick_gelu": quick})
    return "--clip", arch, "--clip-weights", str(path)


def round_trip(arch):
    """What each step says."""
    try:
        clip = options(arch)
    except RuntimeError:  # it cannot be built here; the command says why
        clip = ("--clip", arch, "--clip-weights", __file__)
    mine = ("mine", "--dataset", "tiny", "--videos", "videos", "--frames", 2, "--top-k", 1)
    steps = {
        "mine": (*mine, *clip),
        "train": CACHED,
        "predict": ("predict", "run", "videos/test/walk/4.mp4", *clip),
    } | {name: (*words, *clip) for name, words in TOWERS.items()}
    found = {}
    for name, words in steps.items():
        found[name], _ = actionlore(*words)
        if name in ("mine", "train") and found[name] != "passes":
            break
    close_idle()
    return found


def main():
    """Print what each architecture does."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for arch in sys.argv[1:] or FAMILIES:
        with tempfile.TemporaryDirectory() as directory:
            os.chdir(directory)
            for i in range(6):
                split = "test" if i >= 4 else "train"
                name = ("walk", "run")[i % 2]
                write_video(Path("videos", split, name, f"{i}.mp4"), 8 + i, picture=moving)
            print(f"{arch}:", flush=True)
            said, output = actionlore(
                "register", "--dataset", "folder", "--videos", "videos", "--name", "tiny"
            )
            assert said == "passes", output
            for step, said in round_trip(arch).items():
                print(f"    {step:10} {said}", flush=True)
            os.chdir("/")
    needs = Counter[str]()
    for arch in open_clip.list_models():
        text = open_clip.get_model_config(arch)["text_cfg"]
        has = "text tower" if text.get("hf_model_name") else "tokenizer"
        needs[f"transformers for their {has}" if text.get("hf_tokenizer_name") else "nothing"] += 1
    print(f"of {needs.total()} architectures need: {dict(needs)}")


if __name__ == "__main__":
    main()
