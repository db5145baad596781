"""Directories for a dataset's videos and lists."""

import pytest


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos").mkdir()
    return tmp_path / "videos"


@pytest.fixture
def lists(tmp_path):
    (tmp_path / "lists").mkdir()
    return tmp_path / "lists"
