"""The tree of what an artifact was made from, and what is not there any more."""

import shutil

from artifacts.store import Store
from artifacts.views.lineage import LineageNode, lineage
from tests.published import classes, pairs, publish, ranked


def test_every_node_is_followed_by_its_inputs(tmp_path):
    store = Store(tmp_path)
    known = publish(store, "classes", classes(["a", "b"]))
    matrix = publish(store, "cooccurrence", pairs({(0, 1): 1}), classes=known)
    made = publish(store, "negatives", ranked({"v": ["a"]}), cooccurrence=matrix, classes=known)
    one, two, three = (str(each.ref) for each in (made, matrix, known))
    expected = [
        LineageNode(0, None, one, 1),
        LineageNode(1, "cooccurrence", two, 1),
        LineageNode(2, "classes", three, 2),
        LineageNode(1, "classes", three, 2),
    ]
    assert list(lineage(store, made)) == expected
    shutil.rmtree(store.directory(matrix.ref))
    expected[1:3] = [LineageNode(1, "cooccurrence", two, None)]
    assert list(lineage(Store(tmp_path), made)) == expected
