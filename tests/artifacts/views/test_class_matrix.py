"""A class-pair table as a dense matrix: every value at its pair, zeros elsewhere."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from artifacts.views.class_matrix import to_matrix


def to_pairs(ids, values):
    """One row per pair whose value is not 0 (False)."""
    places = np.argwhere(values)
    return pa.table(
        {
            "class_id": pa.array([ids[row] for row, _ in places], pa.int32()),
            "other_id": pa.array([ids[column] for _, column in places], pa.int32()),
            "votes": values[tuple(places.T)],
        }
    )


@given(st.data())
def test_a_matrix_comes_back_from_its_pairs(data):
    ids = data.draw(st.lists(st.integers(0, 10_000), max_size=6, unique=True))
    dtype = data.draw(st.sampled_from([np.bool_, np.int32, np.int64, np.float32, np.float64]))
    elements = (
        {"elements": st.floats(0, 100, width=32)} if dtype in (np.float32, np.float64) else {}
    )
    values = data.draw(hnp.arrays(dtype, (len(ids), len(ids)), **elements))
    table = to_pairs(ids, values)
    back = to_matrix(table, "votes", ids)
    assert back.class_ids == tuple(ids)
    assert back.values.dtype == values.dtype
    np.testing.assert_array_equal(back.values, values)
    order = data.draw(st.permutations(ids))
    places = [ids.index(class_id) for class_id in order]
    np.testing.assert_array_equal(
        to_matrix(table, "votes", order).values,
        values[np.ix_(places, places)].reshape(values.shape),
    )


def pairs(**columns):
    return pa.table({"class_id": [1, 2], "other_id": [2, 7], **columns})


def test_rows_and_columns_follow_the_ids():
    matrix = to_matrix(pairs(votes=[3, 5]), "votes", [7, 2, 1])
    assert matrix.values.tolist() == [[0, 0, 0], [5, 0, 0], [0, 3, 0]]


def test_null_is_zero():
    table = pairs(mean_position=pa.array([1.5, None]), selected=pa.array([None, True]))
    assert to_matrix(table, "mean_position", [1, 2, 7]).values.sum() == 1.5
    assert to_matrix(table, "selected", [1, 2, 7]).values.sum() == 1


@pytest.mark.parametrize(
    ("table", "column", "ids", "message"),
    [
        (pairs(votes=[3, 5]), "votes", [1, 2], r"other_id holds \[7\]"),
        (pairs(votes=[3, 5]), "votes", [2, 7], r"class_id holds \[1\]"),
        (pairs(votes=[3, 5]), "count", [1, 2, 7], "'count'"),
        (pairs(source=["llm", "self"]), "source", [1, 2, 7], "'source' has type string"),
        (pairs(votes=[3, 5]), "votes", [1, 2, 7, 7], "not distinct"),
        (pa.concat_tables([pairs(votes=[3, 5])] * 2), "votes", [1, 2, 7], "more than one row"),
    ],
)
def test_errors_name_what_is_wrong(table, column, ids, message):
    with pytest.raises(ValueError, match=message):
        to_matrix(table, column, ids)
