"""Datasets with official lists: their files written, read and compared."""

from knowledge.datasets.listing import read_listing
from knowledge.datasets.spec import DatasetSpec


def read(dataset, videos, directory=None, **fields):
    labels = {} if directory is None else {"labels": str(directory)}
    return read_listing(DatasetSpec(dataset=dataset, videos=videos, **(labels | fields)))


def rows(listing):
    names = dict(zip(listing.classes["class_id"], listing.classes["name"], strict=True))
    return {v.path: (v.split, [names[i] for i in v.class_ids]) for v in listing.videos}


def touch(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def given_counts(listing):
    return {reason: count for reason, count in listing.counts.items() if count}


def write(lists, files, **changes):
    for name, text in (files | changes).items():
        if text is not None:
            (lists / name).write_text(text, newline="")
    return lists
