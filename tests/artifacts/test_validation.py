"""Tables are checked against their schema; the error names column, row and value."""

import pyarrow as pa
import pytest

from artifacts.kinds import SCHEMAS, schema_of
from artifacts.validation import check


def classes(**changes):
    columns = {
        "class_id": [0, 1],
        "name": ["walk", "run"],
        "prompt_name": ["walk", "run"],
        "group": ["all", "all"],
        "is_base_75": [True, False],
        "is_base_50": [True, False],
    } | changes
    return pa.table(columns, schema=schema_of("classes").arrow())


def test_a_right_table_passes():
    check(classes(), schema_of("classes"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"class_id": [0, -1]}, r"classes\.class_id, row 1: value -1 must be at least 0"),
        ({"name": ["walk", None]}, r"classes\.name, row 1: value None must not be null"),
        ({"name": ["walk", "walk"]}, r"\{'name': 'walk'\} occurs in 2 rows"),
    ],
)
def test_wrong_values_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        check(classes(**changes), schema_of("classes"))


def test_wrong_columns_and_types_are_named():
    with pytest.raises(ValueError, match=r"columns are \['class_id'\], expected"):
        check(classes().select(["class_id"]), schema_of("classes"))
    wrong = classes().set_column(0, "class_id", pa.array([0, 1], pa.int64()))
    with pytest.raises(ValueError, match=r"classes\.class_id: type int64, expected int32"):
        check(wrong, schema_of("classes"))


def test_every_schema_is_consistent():
    for kind, schema in SCHEMAS.items():
        assert kind == schema.kind
        assert len(set(schema.column_names)) == len(schema.columns)
        for key in schema.unique:
            assert set(key) <= set(schema.column_names)
