"""The manifest: everything a later job reads is covered by a hash, of old ones what there is."""

import contextlib
import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from artifacts.artifact import CorruptArtifactError
from artifacts.kinds import schema_of
from artifacts.provenance import Manifest, Provenance, inputs_of
from artifacts.store import Store

CONFIG = {"seed": 0, "lr": 5e-05}


def run(store, facts=None, report=None, name="demo", weights=b"weights", seed=0):
    """A small artifact with a table and a file."""
    origin = Provenance(kind="training_run", name=name, config=CONFIG | {"seed": seed})
    row = {"epoch": 1, "step": 3, "loss": 0.1 + 0.2, "learning_rate": 1e-05}
    table = pa.Table.from_pylist([row], schema=schema_of("training_run").arrow())
    with contextlib.closing(store.draft(origin)) as draft:
        draft.write(table)
        draft.write_file("model.safetensors", weights)
        return draft.publish(report, facts)


def edited(artifact, change):
    """Change the manifest's JSON as an editor would."""
    path = Path(artifact.store.directory(artifact.ref)) / "manifest.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=1))


def made_before_facts(artifact):
    """Rewrite the manifest as it was before manifests had facts and a SHA-256 of their own."""

    def older(content):
        content["report"] |= content.pop("facts")
        del content["sha256"]

    edited(artifact, older)


def test_twenty_of_twenty_flipped_bits_are_noticed(tmp_path):
    store = Store(tmp_path)
    report = {"rate": 1.5e-07, "words": "ä\x1f", "seconds": 0.1 + 0.2, "none": None}
    artifact = run(store, {"scale": 14.3, "names": ["a", "b"]}, report)
    files = sorted(Path(store.directory(artifact.ref)).iterdir())
    assert [file.name for file in files] == [
        "manifest.json",
        "model.safetensors",
        "part-00000.parquet",
    ]
    artifact.verify()
    sizes = [file.stat().st_size for file in files]
    positions = np.random.default_rng(0).choice(8 * sum(sizes), 20, replace=False).tolist()
    positions += [8 * place for place in range(0, sizes[0], sizes[0] // 20)]
    exponent = files[0].read_bytes().index(b"1.5e-07")
    positions.append(8 * (exponent + 3) + 5)  # e becomes E: the same number, another file
    noticed = []
    for position in positions:
        path, place = files[0], position
        for file, size in zip(files, sizes, strict=True):
            path = file
            if place < 8 * size:
                break
            place -= 8 * size
        intact = path.read_bytes()
        damaged = bytearray(intact)
        damaged[place // 8] ^= 1 << (place % 8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"^[^\n]*$"):
            store.get(f"training_run/demo@{artifact.manifest.key}").verify()
        noticed.append(position)
        path.write_bytes(intact)
    assert len(noticed) == len(positions) >= 40
    artifact.verify()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content["facts"].update(scale=99.0),
        lambda content: content["report"].update(videos=7),
        lambda content: content["config"].update(seed=5),
        lambda content: content["versions"].update(torch="0"),
        lambda content: content["inputs"].update(x={"ref": "classes/x@ab", "content_hash": "0"}),
        lambda content: content.update(created="1999-01-01T00:00:00+00:00"),
        lambda content: content.update(sha256="0" * 64),
    ],
)
def test_an_edited_manifest_is_refused_by_whoever_reads_the_artifact(tmp_path, change):
    store = Store(tmp_path)
    artifact = run(store, {"scale": 14.3}, {"videos": 6})
    edited(artifact, change)
    for read in (
        lambda: store.get("training_run/demo"),
        lambda: store.get(artifact.ref),
        lambda: store.find(Provenance(kind="training_run", name="demo", config=CONFIG)),
    ):
        with pytest.raises(CorruptArtifactError, match=r"changed after it was written.*remove"):
            read()


def test_facts_are_content_and_reports_are_not(tmp_path):
    one, two, three = (
        run(Store(tmp_path / str(i)), facts, {"duration_s": i})
        for i, facts in enumerate(({"scale": 14.3}, {"scale": 14.3}, {"scale": 50.0}))
    )
    hashes = [each.manifest.content_hash for each in (one, two, three)]
    assert hashes[0] == hashes[1] != hashes[2]
    keys = {
        Provenance(kind="metrics", name="m", config={}, inputs=dict(inputs_of(run=each))).key
        for each in (one, two, three)
    }
    assert len(keys) == 2
    with pytest.raises(ValueError, match="exists with other content"):
        run(one.store, {"scale": 50.0})


def test_facts_and_reports_are_read_as_they_were_given(tmp_path):
    given = {"scale": 0.1 + 0.2, "names": ("a", "ü"), "counts": {3: 1, "x": None}}
    made = run(Store(tmp_path), given, {"rate": math.nan})
    found = Store(tmp_path).get(made.ref).manifest
    assert found == made.manifest
    assert found.facts == {"scale": 0.1 + 0.2, "names": ["a", "ü"], "counts": {"3": 1, "x": None}}
    assert found.report == {"rate": None}
    assert Manifest.read(found.text.encode()) == found


def test_what_was_made_before_is_read_and_verify_says_so(tmp_path):
    from flows.cli import app

    store = Store(tmp_path)
    old, new = run(store, {"scale": 14.3}, name="old"), run(store, name="new", seed=1)
    made_before_facts(old)
    edited(old, lambda content: content.update(content_hash=new.manifest.content_hash))
    found = store.get("training_run/old")
    assert (found.manifest.sha256, found.manifest.facts) == (None, {})
    assert found.manifest.fact("scale") == 14.3
    assert found.manifest.fact("unknown") is None
    found.verify()
    assert store.get("training_run/new").manifest.fact("scale") is None
    done = CliRunner().invoke(app, ["inspect", "verify", "--store", str(tmp_path)])
    assert done.exit_code == 0
    told = " ".join(done.stdout.split())
    assert "2 artifacts are what their manifests say" in told
    assert "1 manifests are older" in told
    assert str(old.ref) in told
    assert str(new.ref) not in told
    given = ["inspect", "verify", "--json", "--store", str(tmp_path)]
    document = json.loads(CliRunner().invoke(app, given).stdout)
    assert document["manifests_without_sha256"] == [str(old.ref)]


def test_reports_of_new_artifacts_decide_nothing(tmp_path):
    made = run(Store(tmp_path), None, {"scale": 14.3})
    assert made.manifest.fact("scale") is None
