"""Architectures by name: open_clip's own, bundled ones, a directory's, a hub repository's."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

MODELS = Path(__file__).parent / "bundled"
"""Models that come with the package: NAME.json (open_clip config) beside NAME.safetensors."""

LOCAL, HUB = "local-dir:", "hf-hub:"
"""What open_clip writes before a directory, and before a repository of the Hugging Face hub, that
holds description and weights of a model."""
CONFIG_FILE = "open_clip_config.json"
"""The description in such a place: `model_cfg` and `preprocess_cfg`."""

ENCODERS = "pip install 'actionlore[encoders]'"
"""Installs what models with texts of their own need."""


def holds_weights(arch: str) -> bool:
    """Whether a name says where the weights are, too."""
    return arch.startswith((LOCAL, HUB))


def shown_name(arch: str) -> str:
    """What an architecture is called where no path may be."""
    if not arch.startswith(LOCAL):
        return arch
    return LOCAL + directory_of(arch).resolve().name


def directory_of(arch: str) -> Path:
    """The directory that a name with `local-dir:` means."""
    return Path(arch.removeprefix(LOCAL)).expanduser()


def description(arch: str) -> dict[str, Any]:
    """What a directory or repository says of its model; nothing for other names.

    Raises:
        ValueError: it is not there or says nothing, or there is no network.
    """
    if not holds_weights(arch):
        return {}
    path = (
        directory_of(arch) / CONFIG_FILE if arch.startswith(LOCAL) else fetched(arch, CONFIG_FILE)
    )
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"--clip {arch}: there is no {path}, which describes the model") from None
    except ValueError as error:
        raise ValueError(f"--clip {arch}: {path} is no JSON ({error})") from error
    config = found.get("model_cfg", found) if isinstance(found, dict) else None
    if not isinstance(config, dict) or not {"embed_dim", "vision_cfg", "text_cfg"} <= config.keys():
        raise ValueError(
            f"--clip {arch}: {path} describes no open_clip model; it needs model_cfg with "
            "embed_dim, vision_cfg and text_cfg"
        )
    return {"model_cfg": config, "preprocess_cfg": found.get("preprocess_cfg") or {}}


def fetched(arch: str, file: str | None = None) -> Path:
    """A file of a hub repository, from the local cache if it is there; its weights when None.

    Raises:
        ValueError: it is neither cached nor can it be fetched.
    """
    from open_clip import pretrained

    try:
        with quiet("huggingface_hub"):  # announces each of its retries
            return Path(pretrained.download_pretrained_from_hf(arch.removeprefix(HUB), file))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"--clip {arch}: {file or 'its weights'} is not cached and cannot be fetched "
            f"({first_line(error)}); give {LOCAL}DIRECTORY with a copy of the repository instead"
        ) from error


def model_config(arch: str) -> dict[str, Any] | None:
    """open_clip's description of an architecture, also of a bundled one; None: unknown.

    Raises:
        ValueError: as for `description`.
    """
    if holds_weights(arch):
        return dict(description(arch)["model_cfg"])
    import open_clip

    _register_bundled()
    found: dict[str, Any] | None = open_clip.get_model_config(arch)
    return found


def check_known(arch: str) -> None:
    """Refuse a name that open_clip does not know.

    Raises:
        ValueError: the nearest names.
    """
    if model_config(arch) is None:
        import open_clip

        near = difflib.get_close_matches(arch, open_clip.list_models(), n=6, cutoff=0.4)
        raise ValueError(
            f"unknown CLIP architecture {arch!r}; near it: {', '.join(near) or 'nothing'}"
        )


def config_sha256(arch: str) -> str | None:
    """Identity of an architecture whose name does not decide what it is; None: it does.

    Tokenizer files of a directory count: they decide what a text becomes.
    """
    if not holds_weights(arch):
        return None
    config = model_config(arch) or {}
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode())
    if arch.startswith(LOCAL) and config["text_cfg"].get("hf_tokenizer_name"):
        for path in sorted(directory_of(arch).iterdir()):
            if path.is_file() and path.name.startswith(TOKENIZER_FILES):
                digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


TOKENIZER_FILES = (
    *("tokenizer", "vocab", "merges", "spiece", "sentencepiece", "special_tokens", "added_tokens"),
)
"""How the names of a tokenizer's files begin."""


def new_model(arch: str) -> Any:
    """A model with random weights, in float32.

    Raises:
        ValueError: it needs a package that is not installed, or cannot be built.
    """
    import open_clip

    config = model_config(arch) or {}
    if config.get("text_cfg", {}).get("hf_model_name"):
        _require("transformers", f"--clip {arch} needs it for its text tower")
    try:
        with quiet(None):  # open_clip warns that the model is random: its weights come next
            return open_clip.create_model(
                arch, pretrained=None, load_weights=False, precision="fp32", pretrained_text=False
            )
    except ImportError as error:
        raise ValueError(f"--clip {arch} cannot be built: {_lacking(error)}") from error
    except Exception as error:  # timm, transformers and open_clip raise whatever they like
        raise ValueError(
            f"--clip {arch} cannot be built with the open_clip and timm that are installed: "
            f"{first_line(error)}; update them, or choose another architecture"
        ) from error


def new_tokenizer(arch: str) -> Any:
    """open_clip's tokenizer of an architecture.

    Raises:
        ValueError: it needs a package that is not installed, or files that cannot be fetched.
    """
    import warnings

    import open_clip

    config = model_config(arch) or {}
    if config.get("text_cfg", {}).get("hf_tokenizer_name"):
        _require("transformers", f"--clip {arch} needs it for its tokenizer")
    try:
        with warnings.catch_warnings():
            # open_clip leaves its vocabulary file to the garbage collector.
            warnings.simplefilter("ignore", ResourceWarning)
            return open_clip.get_tokenizer(arch)
    except ImportError as error:
        raise ValueError(f"the tokenizer of --clip {arch}: {_lacking(error)}") from error
    except Exception as error:  # transformers raises whatever it likes
        raise ValueError(
            f"the tokenizer of --clip {arch} cannot be made: {first_line(error)}; it needs its "
            f"files in the local cache or network, and {ENCODERS}"
        ) from error


def _require(package: str, why: str) -> None:
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"the package {package} is not installed, and {why}; {ENCODERS}")


def _lacking(error: ImportError) -> str:
    if error.name:
        return f"the package {error.name.partition('.')[0]} is not installed; {ENCODERS}"
    return f"{first_line(error)}; {ENCODERS}"


def first_line(error: Exception) -> str:
    """The first line of what an error says, or its kind."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


@contextmanager
def quiet(logger: str | None) -> Iterator[None]:
    """Keeps a library's warnings (None: those on the root logger) from the terminal."""
    log = logging.getLogger(logger)
    level, handler = log.level, logging.NullHandler()
    log.addHandler(handler)  # without any, logging.warning() sets the root logger up for all
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
        log.removeHandler(handler)


@cache
def _register_bundled() -> None:
    import open_clip

    open_clip.add_model_config(MODELS)
