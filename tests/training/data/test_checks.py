"""Everything that is wrong with a run's inputs is listed; the first of it stops the run."""

from dataclasses import replace

import pytest

from tests.training.runs import MODELS, config_of
from training.data.checks import check_inputs, problems
from training.data.inputs import TrainInputs
from training.data.roles import ROLES, roles_read


def test_all_problems_are_listed_and_the_first_is_raised(world):
    config = config_of()
    assert list(problems(world.inputs(), config)) == []
    inputs = world.inputs(
        frames=None,
        negatives=world.publish_negatives(top_k=2),
        videos=world.publish_videos({"b": 1}),
    )
    inputs = replace(inputs, classes=world.publish_classes("other", 6))
    found = list(problems(inputs, config))
    assert [(each.command, each.ref.split("/")[0]) for each in found] == [
        ("mine", "videos"),
        ("register", "videos"),
        ("mine", "text_embeddings"),
        ("mine --top-k 3", "negatives"),
    ]
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as error:
        check_inputs(inputs, config)
    assert str(error.value) == str(found[0])
    assert "run `actionlore mine --top-k 3` again" in str(found[-1])


def test_embeddings_that_do_not_tell_their_clip_are_listed(world):
    world.clip = None
    silent = world.publish_frames()
    config = config_of("model.negatives.k=0")
    [problem] = problems(world.inputs(frames=silent, negatives=None), config)
    assert "does not say which CLIP made it; run `actionlore mine` again" in str(problem)


def test_roles_are_the_fields_of_the_inputs(world):
    fields = TrainInputs.__dataclass_fields__.keys() - {"clip", "root"}
    assert fields == ROLES.keys()
    for name in MODELS:
        config = config_of(model=name)
        training, scoring = (
            [role.name for role in roles_read(config, each)] for each in (True, False)
        )
        assert training[:3] == scoring[:3] == ["classes", "videos", "texts"]
        assert ("negatives" in training) == (config.model.name == "mgdm")
        assert ("templates" in training) == (config.model.name == "actionclip")
        assert "negatives" not in scoring


def test_a_start_of_another_kind_is_listed_and_nothing_else_is_asked_of_it(world):
    [problem] = problems(world.inputs(start=world.frames), config_of())
    assert "was given as start, which must be training_run" in str(problem)
