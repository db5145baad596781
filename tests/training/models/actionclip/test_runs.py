"""ActionCLIP trained and scored end to end, on cached features and on real video files."""

import pytest
import torch

from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_texts, load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.templates import template_embeddings
from tests.clip_weights import save_random_clip
from tests.training.world import LOGIT_SCALE, World
from tests.video_files import write_video
from training.config.episodes import EpisodesConfig
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.class_list import read_class_list, read_templates
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.evaluation.episodes import draw_episodes
from training.evaluation.evaluate import evaluate
from training.evaluation.few_shot import evaluate_few_shot
from training.loop.trainer import train
from training.models import weights as checkpoint
from training.models.actionclip.config import ActionClipConfig
from training.models.actionclip.prompts import TEMPLATES, family_templates
from training.models.build import assemble

BASE = RunConfig(model=ActionClipConfig())
QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.warmup_epochs=1", "optim.batch_size=24"]
VIDEOS = [
    "data.features=videos",
    "data.num_frames=2",
    "optim.epochs=1",
    "optim.warmup_epochs=0",
    "optim.batch_size=4",
    "optim.lr=1e-3",
    "eval.every=0",
]


def config_of(*settings):
    return override(BASE, [*QUICK, "model.video.layers=1", *settings])


def values(outcome):
    rows = outcome.artifact.read().to_pylist()
    return {(row["protocol"], row["metric"]): row["value"] for row in rows}


def test_training_on_cached_features_learns_and_is_scored(world):
    inputs = world.inputs(templates=world.publish_templates(), negatives=None)
    settings = ["optim.epochs=15", "optim.lr=3e-3", "optim.batch_size=36"]
    run = train(world.store, inputs, config_of(*settings), "toy").artifact
    rows = run.read().to_pylist()
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    assert set(run.manifest.inputs) == {"classes", "videos", "texts", "frames", "templates"}
    predictions, metrics = evaluate(world.store, run, inputs, "test")
    found = values(metrics)
    assert [p for p, m in found if m == "top1"] == [
        "actionclip",
        "zero_shot/prompt",
        "zero_shot/description",
    ]
    assert found["actionclip", "top1"] > 0.6, "chance is 0.17"
    assert "templates" in predictions.artifact.manifest.inputs
    val = values(evaluate(world.store, run, inputs, "val")[1])
    assert val["actionclip", "top1"] == pytest.approx(rows[-1]["val_top1"], abs=1e-6)


def test_the_logit_scale_starts_at_clips_own(world):
    inputs = world.inputs(templates=world.publish_templates())
    classes = read_class_list(inputs, config_of())
    method, _ = assemble(inputs, config_of(), classes, _cached(inputs), torch.device("cpu"))
    assert method.logit_scale.exp().item() == pytest.approx(LOGIT_SCALE)


def _cached(inputs):
    return CachedClips(inputs.frames)


def test_another_dataset_is_scored_without_training_on_it(tmp_path):
    world, other = World(tmp_path / "a"), World(tmp_path / "b", num_classes=9, seed=2)
    inputs = world.inputs(templates=world.publish_templates())
    run = train(world.store, inputs, config_of(), "toy").artifact
    others = other.inputs(negatives=None, templates=other.publish_templates())
    predictions, metrics = evaluate(other.store, run, others, "test")
    assert 0 <= values(metrics)["actionclip", "top1"] <= 1
    seen = {row["top_class_ids"][0] for row in predictions.artifact.read().to_pylist()}
    assert max(seen) > 5, "classes that training did not have"
    mixed = other.inputs(negatives=None, templates=inputs.templates)
    with pytest.raises(ValueError, match=r"toy-templates.* was made from classes/toy"):
        evaluate(other.store, run, mixed, "test")


@pytest.mark.parametrize(
    ("templates", "settings", "message"),
    [
        (None, [], r"needs text_embeddings of classes/toy@\w+ under 16 templates; train with"),
        (("{label}",), [], r"toy-templates@\w+ lacks the template 'Human action of {label}'"),
        (None, ["model.text.trainable=true"], "model.text.trainable=true needs a CLIP model"),
    ],
)
def test_missing_templates_are_refused_before_anything_is_built(
    world, templates, settings, message
):
    made = world.publish_templates(templates) if templates else None
    with pytest.raises(ValueError, match=message) as error:
        train(world.store, world.inputs(templates=made), config_of(*settings), "toy")
    assert "\n" not in str(error.value)


def test_a_family_needs_its_own_templates_only(world):
    few = world.publish_templates(family_templates("suffix")[::-1])
    inputs = world.inputs(templates=few)
    train(world.store, inputs, config_of("model.text.templates=suffix"), "toy")
    features = read_templates(few, range(6), family_templates("suffix"))
    turned = read_templates(few, range(6), family_templates("suffix")[::-1])
    assert torch.equal(features.flip(1), turned)
    norms = features.norm(dim=-1)
    torch.testing.assert_close(norms, torch.tensor([7.0, 6.0, 5.0]).expand(6, 3))


def test_order_of_rows_does_not_matter(tmp_path):
    runs = []
    for shuffle in (None, 3):
        world = World(tmp_path / str(shuffle), shuffle=shuffle)
        inputs = world.inputs(templates=world.publish_templates())
        run = train(world.store, inputs, config_of(), "toy").artifact
        runs.append(checkpoint.load(run.read_file(checkpoint.FILE), "t").tensors)
    assert all(torch.equal(runs[0][name], runs[1][name]) for name in runs[0])


def test_shots_are_drawn_by_seed_and_nested(world):
    inputs = world.inputs(templates=world.publish_templates())

    def drawn(*settings, split="train"):
        config = config_of(*settings)
        found = read_videos(inputs, config, split, _cached(inputs), split == "train")
        return set(found.video_ids), found.class_ids_N

    sets = {k: drawn(f"data.shots={k}")[0] for k in (1, 2, 4, 12)}
    assert sets[1] < sets[2] < sets[4] < sets[12] == drawn()[0]
    assert torch.bincount(drawn("data.shots=4")[1]).tolist() == [4] * 6
    assert drawn("data.shots=4", "seed=1")[0] != sets[4]
    assert drawn("data.shots=4")[0] == sets[4]
    assert len(drawn("data.shots=1", split="test")[0]) == 30
    scored = read_videos(inputs, config_of("data.shots=1"), "train", _cached(inputs))
    assert set(scored.video_ids) == drawn()[0]
    with pytest.raises(ValueError, match=r"has 12 usable videos of class 0, fewer than .*=13"):
        drawn("data.shots=13")
    run = train(world.store, inputs, config_of("data.shots=2"), "toy").artifact
    assert run.manifest.report["videos"] == 12


@pytest.mark.parametrize("loss", ["kl", "bce"])
def test_videos_of_several_classes(tmp_path, loss):
    world = World(tmp_path)
    single = world.publish
    extra = {"train/c0/v0": [0, 1, 4], "test/c3/v0": [3, 5], "test/c2/v1": []}

    def several(kind, rows, *args, **kwargs):
        for row in rows if kind == "videos" else ():
            row["class_ids"] = extra.get(row["video_id"], row["class_ids"])
        return single(kind, rows, *args, **kwargs)

    world.publish = several
    videos = world.publish_videos()
    frames = world.publish_frames(videos=videos)
    inputs = world.inputs(
        videos=videos, frames=frames, negatives=None, templates=world.publish_templates()
    )
    with pytest.raises(ValueError, match=r"has 3 classes, but the model needs .*multilabel=kl"):
        train(world.store, inputs, config_of(), "toy")
    settings = [f"model.multilabel={loss}", "optim.epochs=12", "optim.lr=3e-3"]
    run = train(world.store, inputs, config_of(*settings), "toy").artifact
    rows = run.read().to_pylist()
    assert rows[-1]["loss"] < 0.6 * rows[0]["loss"]
    predictions, metrics = evaluate(world.store, run, inputs, "test")
    of = {r["video_id"]: r for r in predictions.artifact.read().to_pylist()[:30]}
    assert of["test/c3/v0"]["class_ids"] == [3, 5]
    assert of["test/c2/v1"]["class_ids"] == []
    total = sum(of["test/c3/v0"]["top_probabilities"])
    assert (total == pytest.approx(1, abs=1e-4)) == (loss == "kl")
    assert values(metrics)["actionclip", "map"] > 0.5


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """World and inputs of real video files, and their templates by the same CLIP."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("films")
    path = save_random_clip(root / "tiny.safetensors", seed=5)
    spec = ClipSpec(arch="tiny-vit", weights=str(path))
    clip = LazyClip(spec)
    world = World(
        root / "store",
        num_classes=3,
        dim=64,
        num_frames=2,
        clip=clip.identity,
        splits={"train": 2, "test": 1},
    )
    for i, video_id in enumerate(world.labels):
        write_video(root / "videos" / f"{video_id}.mp4", 6 + i)
    made = template_embeddings(world.store, clip, world.classes, TEMPLATES)
    inputs = world.inputs(
        clip=spec, root=root / "videos", templates=made.artifact, negatives=None, corpora=()
    )
    return world, inputs


def test_templates_are_embedded_once_by_the_runs_clip(films):
    world, inputs = films
    table = inputs.templates.read()
    row = table.to_pylist()[16 + 3]
    assert (row["text_id"], row["text"]) == ("toy/1/prompt/3", f"{TEMPLATES[3][:-7]}toy 1")
    units, norms = encode_texts(load_clip(inputs.clip), [row["text"]])
    features = read_templates(inputs.templates, [0, 1, 2], TEMPLATES[:4])
    torch.testing.assert_close(features[1, 3], units[0] * norms[0], rtol=1e-5, atol=1e-5)
    clip = LazyClip(inputs.clip)
    again = template_embeddings(world.store, clip, world.classes, TEMPLATES)
    assert (again.made, again.artifact.ref) == (False, inputs.templates.ref)
    assert "clip" not in vars(clip)
    for wrong, message in (([], "one or more"), (["a", "a"], "different"), (["a"], "contain")):
        with pytest.raises(ValueError, match=message):
            template_embeddings(world.store, clip, world.classes, wrong)


FULL = ["model.text.trainable=true", "vision.trainable=all"]
MEAN = ["model.video.post=meanP"]
REGIMES = {
    "head only": [],
    "text tower": ["model.text.trainable=true", *MEAN],
    "everything": FULL,
    "joint": ["model.video.pre=joint", *MEAN],
    "joint, everything": ["model.video.pre=joint", *MEAN, *FULL],
    "shift, everything": ["model.video.within=shift", *MEAN, *FULL],
    "nothing from CLIP": ["model.init=scratch", *FULL],
}


@pytest.mark.parametrize("regime", REGIMES)
def test_regimes_train_what_they_say_and_are_scored(films, regime):
    world, inputs = films
    layers = [] if MEAN[0] in REGIMES[regime] else ["model.video.layers=1"]
    config = override(BASE, [*VIDEOS, *layers, *REGIMES[regime]])
    method, _ = assemble(inputs, config, read_class_list(inputs, config), None, torch.device("cpu"))
    before = {name: tensor.clone() for name, tensor in method.state_dict().items()}
    run = train(world.store, inputs, config, f"films-{regime.replace(' ', '-').replace(',', '')}")
    saved = checkpoint.load(run.artifact.read_file(checkpoint.FILE), "t").tensors
    moved = {name for name in saved if not torch.equal(saved[name], before[name])}
    expected = {"logit_scale", "head"} | ({"time"} if "joint" in regime else set())
    expected |= {"texts"} if "model.text.trainable=true" in REGIMES[regime] else set()
    expected |= {"visual"} if "vision.trainable=all" in REGIMES[regime] else set()
    expected -= {"head"} if MEAN[0] in REGIMES[regime] else set()
    names = {name.removeprefix("tower.").split(".")[0] for name in moved}
    assert names == expected
    unmoved = {n for n in saved if n not in moved and not n.startswith("tower.visual")}
    assert not unmoved
    predictions, metrics = evaluate(world.store, run.artifact, inputs, "test")
    assert len(values(metrics)) >= 3
    frozen = not {"visual", "time"} & expected and "shift" not in regime
    assert predictions.artifact.manifest.facts["protocols"][0] == "actionclip"
    assert (predictions.work["videos_scored"] == 3) == frozen, "else frozen CLIP has its own pass"
    few = EpisodesConfig(split="train", ways=3, num_episodes=5)
    episodes = draw_episodes(world.store, inputs.videos, few).artifact
    metrics = evaluate_few_shot(world.store, run.artifact, inputs, episodes)
    assert [protocol.split("/")[1] for protocol, metric in values(metrics) if metric == "ci95"] == [
        "actionclip",
        "frozen_clip",
    ]
    assert metrics.work["videos_decoded"] == 6
    assert metrics.work["videos_scored"] == (6 if frozen else 12)


def test_what_towers_start_from_depends_on_init_and_seed(films):
    _, inputs = films
    original = load_clip(inputs.clip).model.state_dict()

    def started(*settings):
        config = override(BASE, [*VIDEOS, "model.video.layers=1", *FULL, *settings])
        state = assemble(
            inputs, config, read_class_list(inputs, config), None, torch.device("cpu")
        )[0].state_dict()
        return {
            "vision": torch.equal(state["tower.visual.proj"], original["visual.proj"]),
            "text": torch.equal(state["texts.text_projection"], original["text_projection"]),
        }, state["texts.text_projection"]

    assert started()[0] == {"vision": True, "text": True}
    assert started("model.init=vision_only")[0] == {"vision": True, "text": False}
    kept, one = started("model.init=scratch")
    assert kept == {"vision": False, "text": False}
    assert torch.equal(started("model.init=scratch")[1], one)
    assert not torch.equal(started("model.init=scratch", "seed=1")[1], one)
