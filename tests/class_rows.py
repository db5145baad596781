"""Classes without a class list, and videos without files."""

import pyarrow as pa

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from knowledge.datasets.class_names import base_flags
from knowledge.extraction.question import ActionClass


def make_actions(groups, ids=None):
    flags = zip(base_flags(groups, 0.75), base_flags(groups, 0.5), strict=True)
    return [
        ActionClass(class_id, f"action {class_id}", f"action {class_id}", group, *flag)
        for class_id, group, flag in zip(ids or range(len(groups)), groups, flags, strict=True)
    ]


def publish_videos(store, classes, labels, split="train", name="demo"):
    """The `videos` artifact of these class ids, of one split or one split each."""
    rows = [
        {
            "video_id": f"v{number}",
            "path": f"v{number}.mp4",
            "split": split if isinstance(split, str) else split[number],
            "class_ids": ids,
            "status": "missing",
        }
        for number, ids in enumerate(labels)
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("videos").arrow())
    config = {"labels": labels, "split": split}
    inputs = dict(inputs_of(classes=classes))
    provenance = Provenance(kind="videos", name=name, config=config, inputs=inputs)
    return store.find(provenance) or store.publish(provenance, table)
