"""The run that a recipe starts from: its recipe's, on its dataset, with the new run's CLIP."""

import contextlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from flows.orchestration.specs.evaluate import EvaluateSpec, FewShotSpec
from flows.orchestration.specs.names import bare_name
from flows.orchestration.specs.train import TrainSpec
from flows.orchestration.start import start_of_recipe
from flows.train_model import train_task
from tests.training.runs import config_of
from tests.training.world import CLIP, World
from training.config.facts import FILE
from training.config.overrides import override
from training.data.checks import problems
from training.models import weights
from training.models.registry import recipe

START = replace(recipe("mgdm_small"), config=config_of(), dataset="toy")
OTHER = {"arch": "toy", "weights_sha256": "1" * 64}


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "store", splits={"train": 2})


def publish(world, config=START.config, name="run", clip=CLIP, **changes):
    """A run without rows or weights, made by the config, and that config as it is stored."""
    used = {"classes": world.classes, "videos": world.videos, "texts": world.texts} | changes
    stored = config if isinstance(config, dict) else config.model_dump(mode="json")
    provenance = Provenance(
        kind="training_run", name=name, config=stored, inputs=dict(inputs_of(**used))
    )
    with contextlib.closing(world.store.draft(provenance)) as draft:
        draft.write(schema_of("training_run").arrow().empty_table())
        draft.write_file(FILE, weights.save({}, {"config": stored, "clip": clip}))
        return draft.publish({})


def found(world, clip=CLIP):
    return start_of_recipe(world.store, "next", START, clip)


def refused(world, clip=CLIP):
    with pytest.raises(
        ValueError, match=r"\Arecipe next starts from a run of recipe mgdm_small,"
    ) as e:
        found(world, clip)
    assert "run `actionlore train --recipe mgdm_small` on toy first, or give --start" in str(
        e.value
    )
    return str(e.value)


def test_the_newest_run_of_the_recipe_is_taken_whatever_its_seed(world):
    publish(world)
    newest = publish(world, override(START.config, ["seed=3"]), "seeded")
    publish(world, override(START.config, ["optim.epochs=9"]), "other")
    assert found(world).ref == newest.ref


def test_a_run_from_before_a_setting_was_there_is_the_recipes(world):
    stored = START.config.model_dump(mode="json")
    assert stored["eval"].pop("patience", "gone") != "gone"
    assert publish(world, stored).ref == found(world).ref


def test_a_run_of_other_settings_is_refused_and_they_are_named(world):
    assert "holds none; run" in refused(world)
    changed = ["optim.epochs=9", "model.negatives.k=2", "model.heads=4", "optim.lr=0.5", "seed=1"]
    run = publish(world, override(START.config, changed))
    text = refused(world)
    assert f"{run.ref} does not fit: model.heads=4, not null, model.negatives.k=2, not 3, " in text
    assert " and 1 more; run" in text
    assert "seed" not in text


def test_a_run_on_another_dataset_or_with_another_clip_is_refused(world):
    videos = world.publish("videos", [], {}, name="hmdb51", classes=world.classes)
    classes = world.publish("classes", [], {}, name="hmdb51")
    publish(world, videos=videos, classes=classes)
    assert "does not fit: it is on hmdb51, not on toy; run" in refused(world)
    publish(world, videos=world.videos)
    assert found(world)
    assert "it is on hmdb51, not on toy, its CLIP is toy (000" in refused(world, OTHER)
    assert "does not fit: its CLIP is toy (000000000000), not toy (111111111111)" in refused(
        world, OTHER
    )


def test_a_run_says_its_clip_also_where_its_texts_are_gone(world):
    gone = World(world.store.root, splits={"train": 2})
    run = publish(world, texts=gone.publish_texts("gone", gone.classes, gone.texts_KD), clip=OTHER)
    shutil.rmtree(world.store.directory(world.store.get("text_embeddings/gone").ref))
    assert "its CLIP is toy (111111111111), not toy (000000000000)" in refused(world)
    assert found(world, OTHER).ref == run.ref
    inputs = world.inputs(start=run)
    assert f"{run.ref}, from which the run is to start, with toy (111111111111)" in "".join(
        map(str, problems(inputs, START.config))
    )


def test_a_damaged_run_is_no_start(world):
    run = publish(world)
    (Path(world.store.directory(run.ref)) / FILE).unlink()
    assert "it does not say its CLIP (" in refused(world)
    [problem] = problems(world.inputs(start=run), START.config)
    assert "the file is missing" in str(problem)
    assert str(problem).endswith("; give another run, or --start none")


def test_a_run_of_another_version_is_no_start(world):
    publish(world, START.config.model_dump(mode="json") | {"gone": 1})
    assert "does not fit: its config is none of this version (gone=1" in refused(world)


def test_names_may_be_given_with_their_kind():
    assert TrainSpec(dataset="negatives/a@12", start="training_run/b@34").start == "b@34"
    assert TrainSpec(dataset="negatives/a@12").run_name == "a-mgdm_small"
    assert EvaluateSpec(run="training_run/b", data="videos/a").model_dump()["data"] == "a"
    assert FewShotSpec(run="training_run/b@34").run == "b@34"
    assert [bare_name(each, "videos") for each in ("a", "videos/a@1")] == ["a", "a@1"]
    with pytest.raises(ValueError, match="metrics/b is no training_run; give NAME or NAME@KEY of"):
        EvaluateSpec(run="metrics/b")


def test_inputs_of_every_stage_are_checked_before_the_first_trains(world):
    """The second stage trains texts, for which there is no CLIP."""
    world.publish_templates()
    spec = TrainSpec(
        dataset="toy",
        recipe="actionclip_stickworld_head_first",
        settings=("data.num_frames=4", "optim.epochs=2", "model.video.layers=1"),
    )
    with pytest.raises(ValueError, match=r"stage 2: model\.text.trainable=true needs a CLIP model"):
        train_task(str(world.store.root), spec)
    assert world.store.published("training_run") == []
