"""Which CLIP: architecture, the file of its weights, and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import model_validator

from artifacts.files import file_sha256
from artifacts.frozen import Frozen
from knowledge.clip.architecture import (
    LOCAL,
    MODELS,
    check_known,
    description,
    directory_of,
    fetched,
    first_line,
    holds_weights,
    model_config,
    quiet,
)

BUNDLED = "bundled"

_PREFERRED = (
    *("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors"),
    *("open_clip_pytorch_model.bin", "open_clip_pytorch_model.pth"),
    *("model.safetensors", "pytorch_model.bin", "pytorch_model.pth", "model.pth"),
)
"""Of several checkpoints in a directory the first of these; as open_clip has it."""


class ClipSpec(Frozen):
    """Which CLIP model to load."""

    arch: str
    """open_clip architecture, e.g. `ViT-B-16-quickgelu`; a model of this package; or, with their
    weights, `local-dir:DIRECTORY` or `hf-hub:OWNER/NAME`."""
    weights: str
    """Pretrained tag of that architecture, path of a local checkpoint, or `bundled`; not for
    `local-dir:` and `hf-hub:`, which hold them."""

    @model_validator(mode="before")
    @classmethod
    def _weights_that_come_with_it(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and holds_weights(str(given.get("arch", ""))):
            if given.get("weights"):
                raise ValueError(
                    f"--clip-weights {given['weights']} has no effect: {given['arch']} holds its "
                    "weights; leave it out"
                )
            return {**given, "weights": ""}
        return given

    @property
    def is_path(self) -> bool:
        """Whether the weights are named by a path; a tag is one also beside a file of its name."""
        import open_clip

        if self.weights == BUNDLED or holds_weights(self.arch):
            return False
        return not open_clip.get_pretrained_cfg(self.arch, self.weights)

    def absolute(self) -> ClipSpec:
        """The same for a process with another current directory."""
        changes = {}
        if self.arch.startswith(LOCAL):
            changes["arch"] = f"{LOCAL}{directory_of(self.arch).absolute()}"
        elif self.is_path:
            changes["weights"] = str(Path(self.weights).expanduser().absolute())
        return self.model_copy(update=changes)


def checkpoint(spec: ClipSpec) -> Path:
    """The checkpoint file; where it is bundled, neither torch nor open_clip is imported.

    Raises:
        ValueError: as for `weights_path`.
    """
    bundled = MODELS / f"{spec.arch}.safetensors"
    return bundled if spec.weights == BUNDLED and bundled.is_file() else weights_path(spec)


def weights_path(spec: ClipSpec) -> Path:
    """The checkpoint file, fetched first when it is a tag that is not in the local cache.

    Raises:
        ValueError: unknown architecture, no such file or tag, no network, or a tag trained with
            the other GELU.
    """
    import open_clip
    from open_clip import pretrained

    if holds_weights(spec.arch):
        description(spec.arch)  # first what is wrong with the place
        if spec.arch.startswith(LOCAL):
            return _in_directory(directory_of(spec.arch))
        return fetched(spec.arch)
    check_known(spec.arch)
    if spec.weights == BUNDLED:
        path = MODELS / f"{spec.arch}.safetensors"
        if not path.exists():
            known = ", ".join(sorted(item.stem for item in MODELS.glob("*.safetensors")))
            raise ValueError(f"no bundled weights for {spec.arch!r}; bundled: {known or 'none'}")
        return path
    tag = open_clip.get_pretrained_cfg(spec.arch, spec.weights)
    if not tag:
        path = Path(spec.weights).expanduser()
        if path.is_file():
            return path
        tags = open_clip.list_pretrained_tags_by_model(spec.arch)
        raise ValueError(
            f"CLIP weights {spec.weights!r}: neither a file nor a tag of {spec.arch}; "
            f"give a checkpoint path or one of {', '.join(tags) or '(no tags)'}"
        )
    check_gelu(spec, bool(tag.get("quick_gelu", False)), f"tag {spec.weights!r}")
    try:
        with quiet("huggingface_hub"):  # announces each of its retries
            return Path(pretrained.download_pretrained(tag))
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"CLIP weights {spec.arch}/{spec.weights} are not cached and cannot be fetched "
            f"({first_line(error)[:120]}); give a local checkpoint path instead"
        ) from error


def _in_directory(directory: Path) -> Path:
    """The checkpoint that open_clip would take, or the only one.

    Raises:
        ValueError: there is none, or several of which none has open_clip's name.
    """
    suffixes = (".safetensors", ".bin", ".pth", ".pt")
    there = sorted(path for path in directory.iterdir() if path.suffix in suffixes)
    named = [directory / name for name in _PREFERRED if directory / name in there]
    if named or len(there) == 1:
        return (named or there)[0]
    found = ", ".join(path.name for path in there) or "none"
    raise ValueError(
        f"--clip {LOCAL}{directory}: of the checkpoints there ({found}) none has a name that "
        f"open_clip looks for; call the weights {_PREFERRED[0]}"
    )


def other_gelu(arch: str) -> str | None:
    """The same architecture with the other GELU, where open_clip has both."""
    base = arch.removesuffix("-quickgelu")
    other = base if base != arch else f"{arch}-quickgelu"
    return None if holds_weights(arch) or model_config(other) is None else other


def check_gelu(spec: ClipSpec, trained_quick: bool, where: str) -> None:
    """Refuse weights that were trained with the other GELU.

    Raises:
        ValueError: what they are, and the right architecture.
    """
    built_quick = bool((model_config(spec.arch) or {}).get("quick_gelu", False))
    if trained_quick != built_quick:
        base = spec.arch.removesuffix("-quickgelu")
        right = f"{base}-quickgelu" if trained_quick else base
        raise ValueError(
            f"{spec.arch} would run {where} with {'Quick' if built_quick else 'exact '}GELU, "
            f"but it was trained with the other; use --clip {right}"
        )


@lru_cache(maxsize=8)
def _sha256_at(path: Path, *state: int) -> str:
    return file_sha256(path)


def weights_sha256(path: Path) -> str:
    """SHA-256 (hex) of a checkpoint, computed once for as long as the file does not change."""
    stat = path.stat()
    state = (stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return _sha256_at(path.absolute(), *state)
