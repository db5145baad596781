"""A trained model as a directory that needs neither the store nor the dataset.

`clip.safetensors` are weights for plain open_clip, those that were trained among them;
`model.safetensors` is the rest of the model and the texts of its classes.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from artifacts.artifact import Artifact
from artifacts.store import Store
from knowledge.clip.architecture import model_config, shown_name
from knowledge.clip.model import load_clip
from knowledge.clip.state import PREPROCESS, QUICK_GELU
from knowledge.clip.weights import ClipSpec
from training.config.data import DataConfig
from training.config.overrides import parse
from training.data.class_list import ClassList
from training.inference.prediction import VideoClassifier, assembled, classifier
from training.models.weights import Checkpoint

CLIP, MODEL, FACTS = "clip.safetensors", "model.safetensors", "export.json"
_METHOD, _CLASSES = "method.", "classes."
_TEXTS = ("prompts_KD", "templates_KPD")

_README = """# {name}

{model} from `{ref}`, {num_classes} classes, {frames} frames per clip.

With actionlore installed (nothing else is needed, no store):

```python
from pathlib import Path
from training.inference.export import load

model = load(Path("{name}"))
for found in model.top(Path("video.mp4")):
    print(found["name"], found["probability"])
```

CLIP alone, with plain open_clip ({trained}):

```python
import open_clip

open_clip.add_model_config("{name}/{arch}.json")
clip = open_clip.create_model("{arch}", pretrained="{name}/{clip}")
```

`{model_file}` holds what is not CLIP's: the method's own weights (`method.*`) and the features of
the classes' texts (`classes.*`). `{facts}` holds the config, the classes and how a video is read.
"""


def export(
    store: Store, run: Artifact, directory: Path, clip: ClipSpec | None = None
) -> VideoClassifier:
    """Write a run to a directory of its own.

    Args:
        store: holds the run's inputs.
        run: the `training_run`.
        directory: is made; must be empty if it exists.
        clip: the CLIP the run was trained with.

    Returns:
        The model as it is in the store.

    Raises:
        ValueError: a directory with something in it, or as for `prediction.classifier`.
    """
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise ValueError(f"{directory} is not empty; export to another directory")
    model = classifier(store, run, clip)
    assert clip is not None
    directory.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        _write(model, run, clip, temporary, directory.name)
        temporary.chmod(0o755)
        temporary.replace(directory)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return model


def load(directory: Path, device: str = "cpu") -> VideoClassifier:
    """A model that `export` wrote.

    Raises:
        ValueError: not such a directory, or weights that are not of its model.
    """
    try:
        facts = json.loads((directory / FACTS).read_text(encoding="utf-8"))
        tensors = load_file(directory / MODEL)
        arch = facts["clip"]["arch"]
        open_clip.add_model_config(directory / f"{arch}.json")
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise ValueError(f"{directory} does not hold an exported model ({error})") from error
    config = parse(facts["config"])
    found = facts["classes"]
    classes = ClassList(
        class_ids=tuple(row["class_id"] for row in found),
        names=tuple(row["name"] for row in found),
        prompt_names=tuple(row["prompt_name"] for row in found),
        prompts_KD=tensors[f"{_CLASSES}prompts_KD"],
        descriptions_KD=None,
        without_description=0,
        templates_KPD=tensors.get(f"{_CLASSES}templates_KPD"),
    )
    own = {
        name.removeprefix(_METHOD): tensor
        for name, tensor in tensors.items()
        if name.startswith(_METHOD)
    }
    clip = ClipSpec(arch=arch, weights=str(directory / CLIP))
    pictures = DataConfig.model_validate(facts["pictures"])
    names = set(facts["weights"])
    saved = Checkpoint(own, {})
    from_clip = config.model_copy(update={"model": config.model.from_clip()})
    model = assembled(from_clip, classes, pictures, clip, saved, device, names)
    for kind in ("mean", "std"):  # a weights file does not tell them, as a pretrained tag does
        statistics = getattr(model.tower, kind)
        statistics.copy_(torch.tensor(facts[kind]).view_as(statistics))
    return replace(model, config=config)


def _plain_name(arch: str) -> str:
    """A name that can be a file's, for an architecture that a directory or repository holds."""
    return re.sub(r"[:/]", "-", shown_name(arch))


def _write(
    model: VideoClassifier, run: Artifact, clip: ClipSpec, directory: Path, name: str
) -> None:
    state = {key: tensor.detach().cpu() for key, tensor in model.method.trained_state().items()}
    clip_names = model.method.clip_names()
    trained = {key: tensor for key, tensor in state.items() if key in clip_names}
    own = {key: tensor.contiguous() for key, tensor in state.items() if key not in trained}
    texts = {key: getattr(model.classes, key) for key in _TEXTS}
    tensors = {f"{_METHOD}{key}": tensor for key, tensor in own.items()}
    tensors |= {
        f"{_CLASSES}{key}": tensor.contiguous()
        for key, tensor in texts.items()
        if tensor is not None
    }
    save_file(tensors, directory / MODEL)
    loaded = load_clip(clip)
    arch, built = _plain_name(clip.arch), model_config(clip.arch) or {}
    weights: dict[str, torch.Tensor] = dict(loaded.model.state_dict())
    weights |= {clip_names[key]: tensor for key, tensor in trained.items()}
    if (log_scale := model.method.log_scale) is not None:
        weights["logit_scale"] = log_scale.detach().cpu().reshape(weights["logit_scale"].shape)
    plain = {key: tensor.contiguous() for key, tensor in weights.items()}
    quick = str(bool(built.get("quick_gelu", False))).lower()
    told = {QUICK_GELU: quick, PREPROCESS: loaded.preprocess.model_dump_json()}
    save_file(plain, directory / CLIP, told)
    (directory / f"{arch}.json").write_text(json.dumps(built, indent=1), encoding="utf-8")
    classes = model.classes
    listed = zip(classes.class_ids, classes.names, classes.prompt_names, strict=True)
    facts: dict[str, Any] = {
        "run": str(run.ref),
        "config": model.config.model_dump(mode="json"),
        "clip": {"arch": arch},
        "pictures": model.pictures.model_dump(mode="json"),
        "classes": [
            dict(zip(("class_id", "name", "prompt_name"), row, strict=True)) for row in listed
        ],
        "weights": sorted(own),
        "mean": model.tower.mean.flatten().tolist(),
        "std": model.tower.std.flatten().tolist(),
    }
    (directory / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")
    readme = _README.format(
        name=name,
        model=model.config.model.name,
        ref=run.ref,
        num_classes=len(classes.class_ids),
        frames=model.pictures.num_frames,
        arch=arch,
        clip=CLIP,
        model_file=MODEL,
        facts=FACTS,
        trained="fine-tuned" if trained else "its weights are those it had",
    )
    (directory / "README.md").write_text(readme, encoding="utf-8")
