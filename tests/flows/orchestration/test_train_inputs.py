"""Inputs of a run are found by what they were made from; texts it lacks are embedded."""

import pytest

from artifacts.store import Store
from flows.orchestration.train_inputs import train_inputs
from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import BUNDLED, ClipSpec
from tests.clip_weights import save_random_clip
from tests.training.world import World
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.checks import check_inputs
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.prompts import TEMPLATES
from training.models.mgdm.config import MgdmConfig

FROZEN = override(RunConfig(model=ActionClipConfig()), ["data.num_frames=4"])
FULL = override(
    RunConfig(model=ActionClipConfig()),
    ["data.features=videos", "vision.trainable=all", "model.text.trainable=true"],
)


@pytest.fixture(scope="module")
def spec(tmp_path_factory):
    path = save_random_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")
    return ClipSpec(arch="tiny-vit", weights=str(path))


def world_of(tmp_path, spec):
    return World(tmp_path, num_classes=3, dim=64, clip=LazyClip(spec).identity)


def test_a_method_without_templates_takes_what_was_mined(world):
    inputs, made = train_inputs(world.store, "toy", RunConfig(model=MgdmConfig()), None, None)
    assert made == []
    assert inputs.templates is None
    assert inputs.clip is None
    assert inputs.texts.ref == world.texts.ref
    assert [corpus.ref for corpus in inputs.corpora] == [world.corpus.ref]


def test_templates_are_found_or_made_with_the_runs_clip(tmp_path, spec):
    world = world_of(tmp_path, spec)
    nothing, made = train_inputs(world.store, "toy", FROZEN, None, None)
    assert (nothing.templates, made) == (None, [])
    with pytest.raises(ValueError, match="under 16 templates; train with --clip"):
        check_inputs(nothing, FROZEN)
    inputs, (outcome,) = train_inputs(world.store, "toy", FROZEN, spec, None)
    assert (outcome.made, outcome.work) == (True, {"texts_encoded": 3 * 16})
    assert inputs.templates.ref == outcome.artifact.ref
    assert inputs.templates.manifest.config["templates"] == list(TEMPLATES)
    check_inputs(inputs, FROZEN)
    again, (found,) = train_inputs(world.store, "toy", FROZEN, spec, None)
    assert not found.made
    without, made = train_inputs(world.store, "toy", FROZEN, None, None)
    assert (without.templates.ref, made) == (again.templates.ref, [])
    prompt, _ = train_inputs(world.store, "toy", RunConfig(model=MgdmConfig()), None, None)
    assert prompt.texts.ref == world.texts.ref, "templates stay apart from the one prompt"


def test_the_bundled_model_is_taken_where_it_made_the_texts(tmp_path):
    bundled = ClipSpec(arch="stickworld-clip", weights=BUNDLED)
    world = World(tmp_path, dim=128, clip=LazyClip(bundled).identity)
    inputs, made = train_inputs(world.store, "toy", FROZEN, None, None)
    assert inputs.clip == bundled
    assert [outcome.made for outcome in made] == [True]
    other = World(tmp_path / "b", clip={"arch": "stickworld-clip", "weights_sha256": "0" * 64})
    assert (
        train_inputs(other.store, "toy", RunConfig(model=MgdmConfig()), None, None)[0].clip is None
    )


def test_the_key_of_videos_is_not_that_of_their_negatives(world):
    config = RunConfig(model=MgdmConfig())
    given = f"toy@{world.videos.manifest.key[:16]}"
    mined = str(world.inputs().negatives.ref)
    said = rf"{given} is the key of {world.videos.ref}, .*; give --dataset {mined}"
    with pytest.raises(ValueError, match=said):
        train_inputs(world.store, given, config, None, None)
    found, _ = train_inputs(world.store, mined.removeprefix("negatives/"), config, None, None)
    assert found.videos.ref == world.videos.ref
    bare = world.publish("videos", [], {}, classes=world.classes)
    given = f"toy@{bare.manifest.key[:16]}"
    with pytest.raises(ValueError, match=f"; run `actionlore mine --dataset {given}`"):
        train_inputs(world.store, given, config, None, None)
    with pytest.raises(ValueError, match="no artifact negatives/toy@123"):
        train_inputs(world.store, "toy@123", config, None, None)


def test_full_fine_tuning_needs_no_mining(tmp_path, spec):
    world = world_of(tmp_path / "mined", spec)
    assert train_inputs(world.store, "toy", FULL, spec, tmp_path)[0].negatives is not None
    bare = Store(tmp_path / "bare")
    world.store = bare
    world.classes = world.publish_classes("toy", 3)
    videos = world.publish_videos()
    with pytest.raises(ValueError, match=r"videos/toy@\w+ is not mined, .* give --clip and"):
        train_inputs(bare, "toy", FULL, None, tmp_path)
    inputs, (texts,) = train_inputs(bare, "toy", FULL, spec, tmp_path)
    assert texts.work == {"texts_encoded": 3}
    assert inputs.videos.ref == videos.ref
    assert (inputs.negatives, inputs.frames) == (None, None)
    check_inputs(inputs, FULL)
    with pytest.raises(ValueError, match="no artifact negatives/toy"):
        train_inputs(bare, "toy", FROZEN, spec, None)
    with pytest.raises(ValueError, match="no artifact videos/kinetics400"):
        train_inputs(bare, "kinetics400", FULL, spec, tmp_path)


@pytest.fixture
def world(tmp_path):
    return World(tmp_path / "store")
