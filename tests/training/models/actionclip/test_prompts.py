"""The 16 templates and their families."""

from typing import get_args

from knowledge.datasets.class_names import prompt_name
from training.models.actionclip.prompts import (
    FAMILIES,
    LABEL,
    TEMPLATES,
    Family,
    family_templates,
    fill,
)


def test_sixteen_templates_in_disjoint_families():
    assert len(TEMPLATES) == len(set(TEMPLATES)) == 16
    assert all(template.count(LABEL) == 1 for template in TEMPLATES)
    assert set(FAMILIES) | {"all"} == set(get_args(Family))
    assert family_templates("all") == TEMPLATES
    assert sum(len(family_templates(family)) for family in FAMILIES) == 16


def test_families_are_told_by_where_the_words_stand():
    assert all(each.endswith(LABEL) for each in family_templates("prefix"))
    assert all(each.startswith(LABEL + ",") or " this" in each for each in FAMILIES["suffix"])
    assert all(not each.startswith(LABEL) for each in family_templates("cloze"))
    assert family_templates("none") == (LABEL,)


def test_names_are_filled_in_as_prompts_spell_them():
    template = family_templates("suffix")[0]
    assert fill(template, prompt_name("ApplyEyeMakeup")) == "apply eye makeup, an action"
    assert fill(template, prompt_name("brush_hair")) == "brush hair, an action"
    assert fill("The man is {label}", "{x} {label}") == "The man is {x} {label}"
