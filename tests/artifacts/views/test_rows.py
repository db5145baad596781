"""Rows of any artifact without its tensors, the classes it is about, and its line in a list."""

import numpy as np
import pyarrow as pa

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance
from artifacts.store import Store
from artifacts.tensors import append_tensor
from artifacts.views.listing import ListedArtifact, listed
from artifacts.views.rows import class_names, rows
from tests.published import classes, pairs, publish


def test_rows_keep_their_types(tmp_path):
    facts = {"variant": "k2", "protocol": "mgdm/all", "std": 0.0}
    values = [facts | {"metric": "top1", "mean": 0.25, "values": [0.5, 0.0]}]
    values += [facts | {"metric": "top5", "mean": 1.0, "values": []}]
    found = publish(Store(tmp_path), "comparison", values)
    assert rows(found, 10) == values
    assert rows(found, 1) == values[:1]


def test_tensors_are_left_out(tmp_path):
    facts = {"text_id": "toy/0", "corpus": "toy", "class_id": None, "source": "text"}
    facts |= {"name": "a", "text": "a", "feature_norm": 2.5}
    plain = [c for c in schema_of("text_embeddings").columns if not c.is_tensor]
    schema = pa.schema([pa.field(c.name, c.type, c.nullable) for c in plain])
    table = append_tensor(
        pa.Table.from_pylist([facts], schema=schema), "embedding", np.eye(2, dtype="f4")[:1]
    )
    found = Store(tmp_path).publish(Provenance(kind="text_embeddings", name="t", config={}), table)
    assert rows(found, 10) == [facts]


def test_names_of_classes_are_found_through_the_inputs(tmp_path):
    store = Store(tmp_path)
    known = publish(store, "classes", classes(["a", "b"]))
    assert class_names(publish(store, "cooccurrence", [], classes=known)) == {0: "a", 1: "b"}
    assert class_names(publish(store, "cooccurrence", pairs({(0, 1): 1}))) == {}


def test_the_line_of_an_artifact(tmp_path):
    found = publish(Store(tmp_path), "classes", classes(["a", "b"]))
    assert listed(found) == ListedArtifact(str(found.ref), 2, found.manifest.created)
