"""Class lists have the official ids and names; names are spelled and compared as documented."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knowledge.datasets.class_lists import CLASS_LISTS, class_list
from knowledge.datasets.class_names import base_flags, normalised, prompt_name

SIZES = {
    "ava": (80, 1, "bend/bow (at the waist)", "watch (a person)"),
    "charades": (157, 0, "Holding some clothes", "Someone is eating something"),
    "hmdb51": (51, 0, "brush_hair", "wave"),
    "kinetics400": (400, 0, "abseiling", "zumba"),
    "ssv2": (174, 0, "Approaching something with your camera", "Wiping something off of something"),
    "stickworld": (36, 1, "stand", "dance with a person"),
    "ucf101": (101, 0, "ApplyEyeMakeup", "YoYo"),
}


@pytest.mark.parametrize("name", CLASS_LISTS)
def test_lists(name):
    size, first_id, first, last = SIZES[name]
    classes = class_list(name)
    assert list(classes.columns) == ["class_id", "name", "group"]
    assert classes["class_id"].tolist() == list(range(first_id, first_id + size))
    assert (classes["name"].iloc[0], classes["name"].iloc[-1]) == (first, last)
    assert classes["name"].map(normalised).is_unique
    assert classes["name"].map(prompt_name).is_unique


def test_groups():
    sizes = {"person_movement": 14, "object_manipulation": 49, "person_interaction": 17}
    assert class_list("ava")["group"].value_counts().to_dict() == sizes
    assert set(class_list("charades")["group"]) == {"all"}


def test_unknown_list():
    with pytest.raises(ValueError, match="unknown class list 'ava60'; nearest: ava"):
        class_list("ava60")
    with pytest.raises(ValueError, match="unknown class list 'xyz'; known: ava, charades"):
        class_list("xyz")


@pytest.mark.parametrize(
    ("name", "spelled"),
    [
        ("ApplyEyeMakeup", "apply eye makeup"),
        ("YoYo", "yo yo"),
        ("TaiChi", "tai chi"),
        ("Archery", "archery"),
        ("TVShow", "TV show"),
        ("3DPrinting", "3D printing"),
        ("UCF101", "UCF101"),
        ("brush_hair", "brush hair"),
        ("  a   b ", "a b"),
        ("Clean and Jerk", "Clean and Jerk"),
        ("passing American football (in game)", "passing American football (in game)"),
        ("Putting [something] onto [something]", "Putting something onto something"),
        ("bend/bow (at the waist)", "bend/bow (at the waist)"),
    ],
)
def test_prompt_name(name, spelled):
    assert prompt_name(name) == spelled
    assert normalised(prompt_name(name)) == normalised(name)


def test_normalised_folds_spelling_and_nothing_else():
    same = ["BasketballDunk", "basketball_dunk", "Basketball dunk!", "basketball-dunk"]
    assert len({normalised(name) for name in same}) == 1
    assert normalised("pullup") != normalised("pull up")
    assert normalised("कार") != normalised("कर")
    assert normalised("kick (a person)") != normalised("kick (an object)")


@given(st.text(max_size=30))
def test_spelling_is_stable(name):
    assert prompt_name(prompt_name(name)) == prompt_name(name)
    assert normalised(normalised(name)) == normalised(name)


@given(st.lists(st.sampled_from("abc"), max_size=60), st.integers(0, 100))
def test_base_flags(groups, percent):
    flags = base_flags(groups, percent / 100)
    for group in set(groups):
        of_group = [flag for flag, each in zip(flags, groups, strict=True) if each == group]
        num_base = math.floor(Fraction(percent, 100) * len(of_group))
        assert of_group == [True] * num_base + [False] * (len(of_group) - num_base)


def test_base_flags_of_ava():
    groups = class_list("ava")["group"].tolist()
    assert (sum(base_flags(groups, 0.75)), sum(base_flags(groups, 0.5))) == (58, 39)
    with pytest.raises(ValueError, match=r"1\.5"):
        base_flags(groups, 1.5)
