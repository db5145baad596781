"""Mini-Kinetics-200: the 200 classes of Kinetics-400 that two lists of YouTube ids pick out.

`--labels` is the directory of train_ytid_list.txt, val_ytid_list.txt (one id a line) and of the
CSV files of Kinetics-400, which know the ids' classes and times. Class ids run from 0 in the
alphabetical order of the classes that occur. Ids that the CSV files do not list are counted.
Source: https://github.com/s9xie/Mini-Kinetics-200
"""

from __future__ import annotations

import re
from dataclasses import replace

from knowledge.datasets.list_files import ListFiles, labels_directory
from knowledge.datasets.listing import Listing
from knowledge.datasets.readers.kinetics import clips_listing, read_csv_files
from knowledge.datasets.spec import DatasetSpec

OPTIONS = ("labels",)


def read(spec: DatasetSpec) -> Listing:
    """Read the two lists and the CSV files.

    Raises:
        ValueError: a file is missing or malformed, or the CSV files list none of the ids.
    """
    needed = "train_ytid_list.txt, val_ytid_list.txt and the CSV files of Kinetics-400"
    directory, names = labels_directory(spec, needed)
    files = ListFiles()
    wanted = set[tuple[str, str]]()
    for split in ("train", "val"):
        for where, youtube_id in files.lines(f"{directory}/{split}_ytid_list.txt"):
            if re.search(r"[\s,]", youtube_id):
                raise ValueError(f"{where}: {youtube_id!r} is not one YouTube id and nothing else")
            wanted.add((split, youtube_id))
    paths = [f"{directory}/{name}" for name in names if name.endswith(".csv")]
    every = read_csv_files(files, paths)
    rows = [clip for clip in every.rows if (clip.split, clip.youtube_id) in wanted]
    if not rows:
        raise ValueError(f"--labels {directory}: the CSV files list no id of the two id lists")
    clips = replace(every, rows=rows, num_unlabelled=0)
    listing = clips_listing(spec, clips, None, files)
    unknown = len(wanted - {(clip.split, clip.youtube_id) for clip in rows})
    return replace(listing, counts=dict(listing.counts) | {"not in the CSV files": unknown})
