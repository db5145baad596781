"""Weights are read in the forms people have them in, and what they do not tell is said."""

import json
import logging
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import open_clip
import pytest
import torch
from safetensors.torch import load_file, save_file

from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_frames, load_clip
from knowledge.clip.preprocess import Preprocess
from knowledge.clip.weights import ClipSpec
from tests.clip_families import save_family
from tests.clip_weights import TINY, save_random_clip

IMAGES = torch.arange(3 * 32 * 32).remainder(251).to(torch.uint8).view(1, 3, 32, 32)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A tiny model's file, and an architecture that differs in its GELU."""
    directory = tmp_path_factory.mktemp("checkpoints")
    described = json.loads(TINY.read_text())
    (directory / "tiny-vit-quickgelu.json").write_text(json.dumps(described | {"quick_gelu": True}))
    open_clip.add_model_config(directory / "tiny-vit-quickgelu.json")
    yield save_random_clip(directory / "tiny.safetensors")
    open_clip.factory._MODEL_CONFIGS.pop("tiny-vit-quickgelu")
    open_clip.factory._MODEL_CONFIG_PATHS.remove(directory / "tiny-vit-quickgelu.json")


def archive(saved, path, arch, of_openai):
    """A TorchScript archive of those weights, as OpenAI published its own."""
    model = open_clip.create_model(arch).eval()
    model.load_state_dict(load_file(saved))
    if of_openai:
        for name, value in {"input_resolution": 32, "context_length": 77, "vocab_size": 9}.items():
            vars(model).pop(name, None)
            model.register_buffer(name, torch.tensor(value))
        model.half()
    given = (torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long))
    given = (given[0].half(), given[1]) if of_openai else given
    torch.jit.save(torch.jit.trace(model, given, check_trace=False), str(path))
    return str(path)


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("of_openai", [True, False])
def test_torchscript_archives_are_read_and_tell_their_gelu(saved, tmp_path, of_openai, caplog):
    right, wrong = "tiny-vit-quickgelu", "tiny-vit"
    path = archive(saved, tmp_path / "archive.pt", right, of_openai)
    clip = load_clip(ClipSpec(arch=right, weights=path))
    for name, value in load_file(saved).items():
        found = clip.model.state_dict()[name]
        torch.testing.assert_close(found, value, rtol=1e-3 if of_openai else 0, atol=1e-3)
    with pytest.raises(ValueError, match=r"trained with the other; use --clip tiny-vit-quickgelu"):
        load_clip(ClipSpec(arch=wrong, weights=path))
    exact = archive(saved, tmp_path / "exact.pt", wrong, False)
    load_clip(ClipSpec(arch=wrong, weights=exact))
    with pytest.raises(ValueError, match=r"trained with the other; use --clip tiny-vit$"):
        load_clip(ClipSpec(arch=right, weights=exact))
    assert not warned(caplog)


@pytest.mark.parametrize("arch", ["tiny-vit", "tiny-vit-quickgelu"])
def test_weights_that_do_not_tell_their_gelu_are_taken_with_a_warning(
    saved, tmp_path, arch, caplog
):
    path = tmp_path / f"{arch}.pt"
    torch.save(load_file(saved), path)
    load_clip(ClipSpec(arch=arch, weights=str(path)))
    [said] = warned(caplog)
    assert "does not say which GELU" in said.getMessage()
    assert f"is run as {arch};" in said.getMessage()
    assert "--clip tiny-vit-quickgelu, of most others --clip tiny-vit" in said.getMessage()


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}, "epoch": 3},
        lambda state: {f"_orig_mod.{k}": v for k, v in state.items()},
        lambda state: {"state_dict": {f"model.{k}": v for k, v in state.items()}},
        lambda state: state | {"logit_scale": state["logit_scale"].view(1)},
    ],
)
def test_what_trainers_write_around_the_weights_is_taken_off(saved, tmp_path, wrap):
    torch.save(wrap(load_file(saved)), tmp_path / "wrapped.pt")
    one, two = (
        load_clip(ClipSpec(arch="tiny-vit", weights=str(path)))
        for path in (saved, tmp_path / "wrapped.pt")
    )
    assert torch.equal(encode_frames(one, IMAGES)[0], encode_frames(two, IMAGES)[0])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.pt", lambda path: torch.save({"vision_model.a": torch.ones(1)}, path), "transformers'"),
        ("a.pt", lambda path: torch.save([print], path), "does not hold weights of tiny-vit"),
        ("a.pt", lambda path: path.write_bytes(b"PK\x03\x04 cut"), "does not hold weights of tiny"),
        (
            "a.npz",
            lambda path: path.write_bytes(b"no numbers"),
            "does not hold weights of tiny-vit",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line(saved, tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(ClipSpec(arch="tiny-vit", weights=str(tmp_path / name)))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def warned(caplog):
    """What this package warned of, not open_clip."""
    return [each for each in caplog.records if each.name.startswith("knowledge")]


def identity(arch, weights):
    return LazyClip(ClipSpec(arch=arch, weights=str(weights))).identity


def test_a_local_checkpoint_is_prepared_as_the_tags_of_its_architecture(saved, tmp_path, caplog):
    squashed = "squash bilinear 0.5 0.5 0.5 0.5 0.5 0.5"
    assert identity("PE-Core-B-16", saved)["preprocess"] == squashed
    assert "preprocess" not in identity("ViT-B-32", saved)
    assert not warned(caplog)
    assert "preprocess" not in identity("ViT-L-14", saved)  # OpenAI's and LAION's differ
    [said] = warned(caplog)
    assert "open_clip_config.json beside it would tell" in said.getMessage()
    assert said.levelno == logging.WARNING
    told = Preprocess(mean=(0, 0, 0), std=(1, 1, 1))
    save_file(load_file(saved), tmp_path / "a.safetensors", {"preprocess": told.model_dump_json()})
    assert identity("tiny-vit", tmp_path / "a.safetensors")["preprocess"] == told.identity
    (tmp_path / "open_clip_config.json").write_text(
        json.dumps({"preprocess_cfg": {"mean": 0.5, "resize_mode": "longest", "fill_color": 9}})
    )
    torch.save(load_file(saved), tmp_path / "b.pt")
    beside = identity("tiny-vit", tmp_path / "b.pt")["preprocess"]
    assert beside.startswith("longest 9 bicubic 0.5 0.5 0.5 0.268")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: (path / "open_clip_config.json").unlink(), "there is no .*open_clip_config"),
        (lambda path: (path / "open_clip_config.json").write_text("{}"), "needs model_cfg"),
        (lambda path: (path / "open_clip_config.json").write_text("{"), "is no JSON"),
        (lambda path: (path / "open_clip_model.safetensors").unlink(), r"\(none\)"),
    ],
)
def test_a_directory_that_holds_no_model_is_one_line(tmp_path, spoil, message):
    arch = save_family(tmp_path / "model", "vit")
    spoil(tmp_path / "model")
    with pytest.raises(ValueError, match=message) as caught:
        load_clip(ClipSpec.model_validate({"arch": arch}))
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match=r"has no effect: .* holds its weights"):
        ClipSpec(arch=arch, weights="openai")


def test_a_repository_of_the_hub_is_read_from_the_cache(tmp_path):
    there = tmp_path / "hub/models--someone--small"
    save_family(there / "snapshots/1234", "siglip")
    (there / "refs").mkdir()
    (there / "refs/main").write_text("1234")
    script = (
        "import sys\n"
        "from knowledge.clip.lazy import LazyClip\n"
        "from knowledge.clip.weights import ClipSpec\n"
        "lazy = LazyClip(ClipSpec.model_validate({'arch': sys.argv[1]}))\n"
        "print(lazy.identity['preprocess'], lazy.tokens.num_tokens, lazy.clip.dim)\n"
    )

    def run(arch):
        return subprocess.run(
            [sys.executable, "-c", script, arch],
            cwd=Path(__file__).parents[3],
            env={"HF_HUB_CACHE": str(tmp_path / "hub"), "HF_HUB_OFFLINE": "1", "PATH": ""},
            capture_output=True,
            text=True,
            check=False,
        )

    done = run("hf-hub:someone/small")
    assert done.stdout == "squash bicubic 0.5 0.5 0.5 0.5 0.5 0.5 64 192\n", done.stderr
    lacking = run("hf-hub:someone/else")
    assert "is not cached and cannot be fetched" in lacking.stderr.splitlines()[-1]


@pytest.mark.skipif(find_spec("transformers") is not None, reason="the package is there")
@pytest.mark.parametrize("arch", ["ViT-B-16-SigLIP2-256", "roberta-ViT-B-32"])
def test_a_missing_package_is_named(arch):
    with pytest.raises(ValueError, match=r"transformers is not installed.*actionlore\[encoders\]"):
        _ = LazyClip(ClipSpec(arch=arch, weights="any")).tokens.num_tokens
