"""Keys and contents that must outlive every change of the code's layout.

A tiny world is run through all commands with fixed seeds, and compared with `pins.json`. Where an
intended change alters a key, the schema version of its kind is raised, CHANGELOG says so, and
`python -m tests.flows.test_pins` writes the file anew.

Numbers that went through floating point arithmetic differ between kinds of CPU, and with them the
content hash of all that is made of them. So a key is pinned with the keys of its inputs in place of
their content hashes; bytes are pinned where no such arithmetic is involved, ids and shapes
everywhere, metrics within a tolerance.
"""

import json
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from artifacts.kinds import schema_of
from artifacts.provenance import canonical_hash
from artifacts.store import Store
from artifacts.tensors import read_tensor
from tests.video_files import moving, write_video
from training.evaluation.tables.comparison import compare
from training.models.registry import recipe, recipe_names

PINS = Path(__file__).with_name("pins.json")
EXACT = ("classes", "videos", "llm_calls", "cooccurrence", "descriptions", "anatomy", "episodes")
"""Kinds whose bytes do not depend on a CPU's arithmetic."""
BYTES_DEPEND_ON = ("av", "pyarrow")
"""Libraries that may write the same content as other bytes."""
VALUES = {
    "metrics": (("protocol", "metric"), "value"),
    "comparison": (("variant", "protocol", "metric"), "mean"),
    "training_run": (("epoch",), "loss"),
    "negatives": (("video_id", "text_id"), "cosine"),
}
"""Kind -> columns that name a value, and its column."""
TOLERANCE = 0.02
NAMES = ("walk", "run", "sit", "wave")
FRAMES = ("--set", "data.num_frames=4", "--set", "optim.epochs=2")
MGDM = (*FRAMES, "--set", "model.video_blocks=1", "--set", "optim.warmup_epochs=0")
ACTIONCLIP = (*FRAMES, "--set", "model.video.layers=1", "--set", "optim.warmup_epochs=1")


def make(root):
    """Run every command that makes artifacts."""
    from flows.cli import app

    def actionlore(*arguments):
        done = CliRunner().invoke(app, [*map(str, arguments), "--store", str(root / "store")])
        assert done.exit_code == 0, (done.output, done.exception)

    for i in range(12):
        path = root / "videos" / ("test" if i >= 8 else "train") / NAMES[i % 4] / f"{i}.avi"

        def picture(index, i=i):
            return moving(3 * i + index * (i % 4), 48, 64)

        options = {"fflags": "+bitexact"}
        write_video(path, 12, "ffv1", picture=picture, container_options=options)
    (root / "videos/train/walk/broken.avi").write_text("no video")
    clip = ("--clip", "stickworld-clip", "--clip-weights", "bundled", "--precision", "fp32")
    actionlore("extract", "--classes", "ava", "--kind", "cooccurrence")
    actionlore("extract", "--classes", "stickworld")
    given = ("--dataset", "folder", "--videos", root / "videos", "--name", "tiny")
    k2 = ("--set", "model.negatives.k=2")
    actionlore("pipeline", *given, *clip, "--corpus", "hmdb51", *MGDM, *k2)
    tiny = ("--dataset", "tiny", "--name", "again", *MGDM, *k2)
    actionlore("train", *tiny, "--set", "seed=1")
    frozen = ("--recipe", "actionclip_stickworld_text_frozen")
    actionlore("train", "--dataset", "tiny", *frozen, *ACTIONCLIP)
    few = ("--split", "train", "--ways", "3", "--episodes", "50")
    actionlore("few-shot", "again", *few)
    store = Store(root / "store")
    runs = [store.get(f"metrics/{name}-test") for name in ("tiny-mgdm_small", "again")]
    compare(store, "seeds", {"k2": runs}, {"pair": [(0, 1)]})
    return store


def lineage_key(artifact):
    """The key, with those of the inputs in place of their content hashes, without methods' code.

    That is no layout: an edit of a method is to change its keys, and `tests.training` checks it.
    """
    manifest = artifact.manifest
    inputs = {
        role: lineage_key(artifact.store.get(item.ref)) for role, item in manifest.inputs.items()
    }
    config = dict(manifest.config)
    if code := config.get("code"):
        config["code"] = {"shared": code["shared"]}
    parts = (manifest.kind, manifest.schema_version, config, inputs)
    return canonical_hash(parts)


def found(artifact):
    """What is pinned of an artifact."""
    schema, table = schema_of(artifact.manifest.kind), artifact.read()
    columns = {
        c.name: list(read_tensor(table, c.name).shape) for c in schema.columns if c.is_tensor
    }
    plain = [c.name for c in schema.columns if c.name in {n for key in schema.unique for n in key}]
    if schema.kind == "negatives":
        plain += ["rank", "dataset_rank", "status"]
    if schema.kind in EXACT:
        plain = schema.column_names
    pins = {
        "key": lineage_key(artifact),
        "rows": table.num_rows,
        "ids": canonical_hash(table.select(plain).to_pylist()),
        "shapes": columns,
    }
    if schema.kind in EXACT:
        pins["content_hash"] = artifact.manifest.content_hash
    if schema.kind in VALUES:
        key, value = VALUES[schema.kind]
        pins["values"] = {
            " ".join(str(row[name]) for name in key): row[value] for row in table.to_pylist()
        }
    return pins


def everything(store):
    return {
        "libraries": {name: version(name) for name in BYTES_DEPEND_ON},
        "artifacts": {
            f"{artifact.manifest.kind}/{artifact.manifest.name}": found(artifact)
            for artifact in store.published()
        },
        "recipes": {
            name: canonical_hash(recipe(name).config.model_dump(mode="json"))
            for name in recipe_names()
        },
    }


@pytest.fixture(scope="module")
def pinned():
    return json.loads(PINS.read_text())


@pytest.fixture(scope="module")
def now(tmp_path_factory):
    return everything(make(tmp_path_factory.mktemp("pins")))


def test_every_kind_of_artifact_is_pinned(now, pinned):
    assert now["artifacts"].keys() == pinned["artifacts"].keys()
    kinds = {name.split("/")[0] for name in pinned["artifacts"]}
    from artifacts.kinds import SCHEMAS

    assert kinds == SCHEMAS.keys()


@pytest.mark.parametrize("what", ["key", "rows", "ids", "shapes"])
def test_artifacts_are_the_same(now, pinned, what):
    for name, pins in pinned["artifacts"].items():
        assert now["artifacts"][name][what] == pins[what], name


def test_bytes_are_the_same_where_no_arithmetic_is_in_them(now, pinned):
    if now["libraries"] != pinned["libraries"]:
        return  # the rows are compared above
    for name, pins in pinned["artifacts"].items():
        assert now["artifacts"][name].get("content_hash") == pins.get("content_hash"), name


def test_values_are_the_same(now, pinned):
    for name, pins in pinned["artifacts"].items():
        values = now["artifacts"][name].get("values", {})
        assert values.keys() == pins.get("values", {}).keys(), name
        for metric, value in values.items():
            np.testing.assert_allclose(value, pins["values"][metric], atol=TOLERANCE, err_msg=name)


def test_recipes_resolve_to_the_same_configs(pinned):
    for name, key in pinned["recipes"].items():
        assert canonical_hash(recipe(name).config.model_dump(mode="json")) == key, name


if __name__ == "__main__":
    made = everything(make(Path(sys.argv[1])))
    PINS.write_text(json.dumps(made, indent=1, sort_keys=True) + "\n")
