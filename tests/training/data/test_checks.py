"""Everything that is wrong with a run's inputs is listed; the first of it stops the run."""

from dataclasses import replace

import pytest

from tests.training.runs import FITTED, MODELS, config_of
from training.config.method import MethodConfig
from training.config.negatives import NegativesConfig
from training.config.run import RunConfig
from training.data.checks import check_inputs, problems
from training.data.inputs import TrainInputs, own_inputs
from training.data.roles import ROLES, Role, roles_read, table


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
        if config.model.name in ("mgdm", "actionclip"):
            assert ("negatives" in training) == (config.model.name == "mgdm")
            assert ("templates" in training) == (config.model.name == "actionclip")
        assert "negatives" not in scoring


def test_a_start_of_another_kind_is_listed_and_nothing_else_is_asked_of_it(world):
    [problem] = problems(world.inputs(start=world.frames), config_of())
    assert "was given as start, which must be training_run" in str(problem)


class Other(MethodConfig):
    """A method with settings of other names than those there are."""

    name: str = "other"
    hard: NegativesConfig = NegativesConfig(k=2)

    @property
    def mined(self):
        return self.hard

    def templates(self):
        return ("a {label}",)


def test_remedies_name_the_settings_of_the_method(world):
    config = RunConfig(model=Other(), data={"num_frames": 4})
    inputs = world.inputs(negatives=None, templates=world.publish_templates(("the {label}",)))
    texts = [str(each) for each in problems(inputs, config)]
    assert texts == [
        f"model.hard.k=2 needs negatives of {world.videos.ref}; run `actionlore mine`, or set "
        "model.hard.k=0",
        f"{inputs.templates.ref} lacks the template 'a {{label}}'; train with --clip and "
        "--clip-weights, which makes it",
    ]
    inputs = world.inputs(negatives=world.publish_negatives(top_k=1), templates=None)
    texts = [str(each) for each in problems(inputs, config)]
    assert texts[0] == (
        f"other needs text_embeddings of {world.classes.ref}; train with --clip and "
        "--clip-weights, which makes it"
    )
    assert "ranks [0, 2] (from 0) of model.hard are wanted" in texts[1]
    assert not any("trainable" in each or "model.negatives" in each for each in texts)


def test_remedies_of_the_methods_there_are(world):
    """Which setting asks for what, and how to do without."""
    [templates] = problems(world.inputs(negatives=None), config_of(model="actionclip"))
    assert str(templates) == (
        f"model.text.templates needs text_embeddings of {world.classes.ref} under 16 templates; "
        "train with --clip and --clip-weights, which makes it, or set model.text.trainable"
    )
    trained = config_of("model.text.trainable=true", model="actionclip")
    [clip] = problems(world.inputs(), trained)
    assert str(clip) == (
        "model.text.trainable=true needs a CLIP model; give --clip and --clip-weights, or set "
        "model.text.trainable=false"
    )
    [frames] = problems(world.inputs(frames=None, negatives=None), config_of("model.negatives.k=0"))
    assert str(frames) == (
        f"data.features=cached needs frame_embeddings of {world.videos.ref}; run `actionlore mine`"
    )
    scales = {name: config_of(model=name).model.without("logit_scale") for name in FITTED | MODELS}
    assert scales["linear_probe"] == ""
    assert {scales[name] for name in ("mgdm", "actionclip", "prototype", "prototype, cache")} == {
        "set model.logit_scale.init=100"
    }


class Further(MethodConfig):
    """A method that reads negatives, whatever they are made from."""

    name: str = "further"

    def reads(self):
        return ("negatives",)


def test_a_role_whose_source_is_missing(world, monkeypatch):
    """The source is the problem, once."""
    monkeypatch.setitem(ROLES, "negatives", replace(ROLES["negatives"], made_from="frames"))
    cached = RunConfig(model=Further(), data={"num_frames": 4})
    assert not list(problems(world.inputs(), cached))
    for negatives in (None, world.publish_negatives()):
        [problem] = problems(world.inputs(frames=None, negatives=negatives), cached)
        assert f"data.features=cached needs frame_embeddings of {world.videos.ref}" in str(problem)
    decoded = RunConfig(model=Further(), data={"features": "videos"})
    found = list(problems(world.inputs(frames=None, negatives=None), decoded))
    assert str(found[-1]) == (
        "further needs negatives of frames, which are not given; run `actionlore mine`"
    )
    given = world.publish_negatives()
    found = list(problems(world.inputs(frames=None, negatives=given), decoded))
    assert str(found[-1]) == (
        f"{given.ref} must be made from the run's frames, which are not given; "
        "run `actionlore mine`"
    )


def test_a_role_is_made_from_a_role_of_one_artifact():
    several = Role("corpora", "text_embeddings", "mine", many="corpus")
    for source in ("corpora", "corpus"):
        made = Role("graph", "cooccurrence", "extract", made_from=source)
        with pytest.raises(ValueError, match=f"made_from='{source}' of the role graph is no role"):
            table(several, made)


def test_scoring_finds_roles_of_several_artifacts_in_the_lineage_of_a_run(world, monkeypatch):
    own = {"classes": world.classes, "videos": world.videos, "texts": world.texts}
    texts = [world.publish_texts(f"t{i}", world.classes, world.texts_KD) for i in range(11)]
    corpora = {f"corpus_{i}": each for i, each in enumerate(texts)}
    run = world.publish("training_run", [], {}, **own, **corpora)
    assert own_inputs(world.store, run).corpora == (), "only training reads them"
    monkeypatch.setitem(ROLES, "corpora", replace(ROLES["corpora"], scoring=True))
    found = own_inputs(world.store, run)
    assert [each.ref for each in found.corpora] == [each.ref for each in texts]
    assert found.videos.ref == world.videos.ref
