"""Every config and record is immutable, strict, and described by its docstrings."""

import pytest
from pydantic import ValidationError

from artifacts.frozen import Frozen


class Record(Frozen):
    """A record."""

    num_videos: int = 1
    """Videos in it."""


def test_frozen_strict_and_described():
    with pytest.raises(ValidationError, match="frozen"):
        Record().num_videos = 2
    with pytest.raises(ValidationError, match="num_vidoes"):
        Record(num_vidoes=2)
    assert Record.model_fields["num_videos"].description == "Videos in it."
