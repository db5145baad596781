"""What artifact keys say of a CLIP: everything that decides its embeddings, and no path."""

from __future__ import annotations

from knowledge.clip.architecture import config_sha256, shown_name
from knowledge.clip.preprocess import Preprocess, preprocess_of
from knowledge.clip.weights import ClipSpec, checkpoint, weights_sha256


def identity(spec: ClipSpec) -> dict[str, str]:
    """`arch` and `weights_sha256`, and what these two leave open.

    `preprocess` where it is not OpenAI's: the same bytes may be a tag with statistics of its own
    and a local file without; and `config_sha256` of `local-dir:` and `hf-hub:`, whose name decides
    no architecture.

    Raises:
        ValueError: as for `checkpoint`.
    """
    path = checkpoint(spec)
    found = {"arch": shown_name(spec.arch), "weights_sha256": weights_sha256(path)}
    if config := config_sha256(spec.arch):
        found["config_sha256"] = config
    if (preprocess := preprocess_of(spec, path)) != Preprocess():
        found["preprocess"] = preprocess.identity
    return found


def short_clip(found: dict[str, str]) -> str:
    """An identity as errors show it."""
    told = [str(found.get("weights_sha256"))[:12]]
    told += [found["config_sha256"][:12]] if "config_sha256" in found else []
    told += [f"pictures {found['preprocess']}"] if "preprocess" in found else []
    return f"{found.get('arch')} ({', '.join(told)})"
