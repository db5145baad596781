"""The class lists that come with the package.

The lists are CSV files (id, name, group) with the official ids and spellings.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.frozen import check_known

if TYPE_CHECKING:
    import pandas as pd

CLASS_LISTS = ("ava", "charades", "hmdb51", "kinetics400", "ssv2", "stickworld", "ucf101")
"""Names of the bundled class lists."""

_DIRECTORY = Path(__file__).with_suffix("")


def class_list(name: str) -> pd.DataFrame:
    """Classes of a dataset in id order: columns class_id, name, group.

    `group` is `all` where the dataset has no groups. AVA's ids run from 1 to 80 and its groups are
    person_movement, object_manipulation and person_interaction; UCF101's ids are those of
    classInd.txt minus one.

    Raises:
        ValueError: there is no list of that name.
    """
    import pandas as pd

    check_known("class list", name, CLASS_LISTS)
    with (_DIRECTORY / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        rows = [(int(row["id"]), row["name"], row["group"]) for row in csv.DictReader(file)]
    return pd.DataFrame(rows, columns=["class_id", "name", "group"])
