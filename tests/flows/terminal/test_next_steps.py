"""Every command names those that follow on it, and they are commands."""

import pytest

from artifacts.kinds import SCHEMAS
from flows.orchestration.report import JobReport
from flows.terminal.next_steps import next_steps
from tests.flows.command_line import parse


def made(*kinds):
    return [JobReport(ref=f"{kind}/tiny@0123456789abcdef", num_rows=1, made=True) for kind in kinds]


@pytest.mark.parametrize(
    ("kinds", "first"),
    [
        (("classes", "videos"), "actionlore extract --classes tiny"),
        (("llm_calls", "cooccurrence"), "actionlore inspect cooccurrence/tiny"),
        (("text_embeddings", "frame_embeddings", "negatives"), "actionlore inspect negatives/tiny"),
        (("training_run", "predictions", "metrics"), "actionlore inspect metrics/tiny"),
        (("comparison",), "actionlore inspect comparison/tiny"),
    ],
)
def test_the_steps_after_what_was_made_last(kinds, first):
    steps = next_steps(made(*kinds), "store")
    assert steps[0] == first
    for step in steps:
        parse(step)
    for step in next_steps(made(*kinds), "elsewhere"):
        assert step.endswith(" --store elsewhere")
        parse(step)


def test_a_trained_run_is_to_be_used():
    steps = next_steps(made("negatives", "training_run", "predictions", "metrics"), "store")
    assert steps[-1] == "actionlore predict tiny VIDEO"


def test_what_nobody_came_for_leads_nowhere():
    assert next_steps(made("llm_calls"), "store") == []
    assert {"llm_calls", "text_embeddings"} < SCHEMAS.keys()
