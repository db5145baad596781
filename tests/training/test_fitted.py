"""What must hold of every method made in one pass; a further one is a line in `runs.FITTED`."""

from collections import Counter
from dataclasses import replace

import pytest
import torch

from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from tests.clip_weights import save_random_clip
from tests.training.runs import FITTED, config_of
from tests.training.world import LOGIT_SCALE, World
from training.config.run import RunConfig
from training.config.runtime import RuntimeOptions
from training.data.checks import check_inputs, problems
from training.data.class_list import read_classes
from training.data.run_data import read_data
from training.data.sources import CachedClips
from training.distributed.group import Group
from training.evaluation.evaluate import evaluate
from training.inference.export import export, load
from training.inference.prediction import classifier
from training.inference.reembedding import reembed
from training.launch import launch
from training.loop.fit import begin_fit, fit
from training.loop.trainer import train
from training.models import weights
from training.models.build import assemble, restore
from training.models.linear_probe.config import LinearProbeConfig
from training.models.linear_probe.model import LinearProbe
from training.models.method import Parts

every_method = pytest.mark.parametrize("model", FITTED)


def fitted(world, model, *settings):
    return train(world.store, world.inputs(), config_of(*settings, model=model), "t").artifact


def tensors_of(run):
    return weights.load(run.read_file(weights.FILE), "t").tensors


def method_of(world, model, run):
    config, classes = config_of(model=model), read_classes(world.classes, world.texts)
    cached = CachedClips(world.frames)
    given = (world.inputs(), config, classes, cached, torch.device("cpu"))
    method, _ = assemble(*given)
    restore(method, weights.load(run.read_file(weights.FILE), "t"))
    return method.eval(), classes, cached


@every_method
def test_a_run_stopped_and_started_again_gives_the_same_bytes(model, tmp_path):
    """Stopped between its last video and its end; there is no checkpoint to go on from."""
    runs = []
    for name in ("whole", "stopped"):
        world = World(tmp_path / name)
        if name == "stopped":
            with pytest.raises(KeyboardInterrupt):
                train(world.store, world.inputs(), config_of(model=model), "t", _stop_at_the_end)
        runs.append(fitted(world, model))
    whole, stopped = runs
    assert whole.ref == stopped.ref
    assert whole.read_file(weights.FILE) == stopped.read_file(weights.FILE)
    timeless = [
        {key: value for key, value in run.manifest.report.items() if key != "duration_s"}
        for run in runs
    ]
    assert timeless[0] == timeless[1]


def _stop_at_the_end(done, total):
    if done == total:
        raise KeyboardInterrupt


@every_method
def test_every_video_is_read_once(world, model):
    """Those of validation too, which choose settings and measure the run."""
    run = begin_fit(world.inputs(), config_of(model=model), Group(), RuntimeOptions(), None)
    counting = Counting(run.source)
    made = fit(replace(run, source=counting))
    read = Counter(counting.read)
    assert set(read) == {*run.data.videos.video_ids, *run.data.val.video_ids}
    assert set(read.values()) == {1}
    assert made.report["val_top1"] == fitted(world, model).manifest.report["val_top1"]


@every_method
def test_validation_is_that_of_the_evaluation(world, model):
    run = fitted(world, model)
    rows = evaluate(world.store, run, world.inputs(), "val")[1].artifact.read().to_pylist()
    primary = method_of(world, model, run)[0].primary
    [top1] = [r["value"] for r in rows if (r["protocol"], r["metric"]) == (primary, "top1")]
    assert run.manifest.report["val_top1"] == pytest.approx(top1)


class Counting:
    """A source that notes the videos it is asked for."""

    def __init__(self, source):
        self.source, self.read = source, []
        self.unreadable, self.num_decoded = {}, 0

    def stream(self, videos, order, draw):
        for index_B, clips in self.source.stream(videos, order, draw):
            self.read += [videos.video_ids[i] for i in index_B.tolist()]
            yield index_B, clips


class Numbers:
    """A column that says which video a row is."""

    def __init__(self, videos):
        self.videos, self.counts = videos, {}

    def columns(self, index_B):
        return {"number_B": torch.tensor([len(self.videos.video_ids[i]) for i in index_B])}


class Joining(LinearProbe):
    """Reads a joined column of every video that it encodes, and draws."""

    @classmethod
    def joined(cls, config, inputs, videos, classes):
        return (Numbers(videos),)

    def encode(self, batch):
        lengths = torch.tensor([len(each) for each in batch.video_ids])
        assert torch.equal(batch.columns["number_B"], lengths)
        return super().encode(batch)

    def fit(self, train, val):
        return super().fit(train, val) | {"drawn": float(torch.rand(()))}


class Drawing(LinearProbeConfig):
    """A linear probe that says it draws."""

    @property
    def draws(self):
        return True


def test_what_is_joined_is_there_for_validation_videos_too(world):
    config = config_of(model="linear_probe")
    run = begin_fit(world.inputs(), config, Group(), RuntimeOptions(), None)
    data = read_data(world.inputs(), config, Joining.joined)
    assert data.val is not None
    method = Joining.build(config.model, Parts(data.cached.dim, 4, data.classes, None, None))
    again = [fit(replace(run, data=data, method=method.eval())).report["drawn"] for _ in range(2)]
    assert again[0] == again[1], "what is drawn is the seed's"
    seeded = config.model_copy(update={"seed": 1})
    other = fit(replace(run, data=data, method=method, config=seeded)).report["drawn"]
    assert other != again[0]


def test_a_fitted_method_that_draws_says_that_the_seed_counts():
    drawing = RunConfig(model=Drawing(), seed=1)
    assert drawing.seed_counts
    with pytest.raises(ValueError, match="seed=1 has no effect"):
        RunConfig(model=LinearProbeConfig(), seed=1)


@every_method
def test_what_it_has_no_use_for_is_refused(world, model, tmp_path):
    config = config_of(model=model)
    once = f"{config.model.name} is made in one pass"

    def refuses_options_of_steps():
        for options in (
            {"compile": True},
            {"tensorboard": tmp_path / "curves"},
            {"checkpoint_every_steps": 3},
        ):
            given = (world.store, world.inputs(), config, "t", None, RuntimeOptions(**options))
            for made_by in (train, launch.train):
                said = f"{next(iter(options))}=.* has no effect: {once}"
                with pytest.raises(ValueError, match=said):
                    made_by(*given)

    refuses_options_of_steps()
    start = fitted(world, model)
    assert not launch.train(world.store, world.inputs(), config, "t").made
    refuses_options_of_steps()
    [problem] = problems(world.inputs(start=start), config)
    assert str(problem) == f"the start {start.ref} has no effect: {once}; leave --start out"
    with pytest.raises(ValueError, match=f"eval.every=3 has no effect: {once}"):
        config_of("eval.every=3", model=model)
    with pytest.raises(ValueError, match=f"seed=1 has no effect: {once}.*data.shots is null"):
        config_of("data.shots=null", "seed=1", model=model)
    drawn = config_of("data.shots=2", "seed=1", model=model)
    assert drawn.seed_counts
    assert not config_of("data.shots=null", model=model).seed_counts


@every_method
def test_nothing_is_mined_with_it_and_the_remedy_is_named(world, model):
    run = fitted(world, model)
    with pytest.raises(
        ValueError, match=r"has no embeddings .*; give another run, or mine with fr"
    ):
        reembed(world.store, run, world.inputs())


@every_method
def test_neither_order_of_videos_nor_size_of_batches_matters(model, tmp_path):
    found = [
        tensors_of(fitted(World(tmp_path / "0"), model)),
        tensors_of(fitted(World(tmp_path / "1", shuffle=5), model)),
        tensors_of(fitted(World(tmp_path / "2"), model, "eval.batch_size=7")),
    ]
    assert found[0]
    for other in found[1:]:
        assert other.keys() == found[0].keys()
        for name, tensor in found[0].items():
            assert torch.equal(other[name], tensor), name


@every_method
def test_what_was_learnt_is_better_than_chance_and_reported(world, model):
    run = fitted(world, model)
    assert run.manifest.report["loss"] > 0
    assert run.manifest.report["val_top1"] > 2 / 6
    assert [row["step"] for row in run.read().to_pylist()] == [0]
    rows = evaluate(world.store, run, world.inputs(), "test")[1].artifact.read().to_pylist()
    top1 = {row["protocol"]: row["value"] for row in rows if row["metric"] == "top1"}
    assert top1[method_of(world, model, run)[0].primary] > 2 / 6
    assert "zero_shot/prompt" in top1


@every_method
def test_evaluation_is_deterministic_and_gives_probabilities(world, model):
    method, classes, cached = method_of(world, model, fitted(world, model))
    clips = cached.fetch(sorted(each for each in world.labels if each.startswith("test/"))[:8])
    protocols, again = method.protocols(classes), method.protocols(classes)
    assert method.primary in protocols
    for name, classify in protocols.items():
        found_BK = classify(method.features(clips))
        assert torch.equal(found_BK, again[name](method.features(clips)))
        assert found_BK.dtype == torch.float64
        assert torch.allclose(found_BK.sum(dim=1), torch.ones(len(found_BK)).double())
        alone_BK = classify(method.features(clips[:1]))
        assert torch.allclose(alone_BK, found_BK[:1], atol=1e-5), "videos see each other"


def test_the_factor_on_cosines_is_that_of_the_prompts_where_it_reads_them(world):
    said = {}
    wanted = {"linear_probe": None, "prototype": None, "prototype, cache": LOGIT_SCALE}
    for model in wanted:
        scale = method_of(world, model, fitted(world, model))[0].log_scale
        said[model] = None if scale is None else float(scale.exp())
    assert said == {name: each and pytest.approx(each) for name, each in wanted.items()}


@every_method
def test_it_needs_no_negatives_and_knows_classes_by_name(world, model, tmp_path):
    config = config_of(model=model)
    check_inputs(world.inputs(negatives=None, corpora=()), config)
    method, classes, _ = method_of(world, model, fitted(world, model))
    assert torch.equal(method.learnt(classes), torch.arange(6))
    more = World(tmp_path, num_classes=8)
    with pytest.raises(ValueError, match="class 'toy6' is not among the 6 classes"):
        evaluate(world.store, fitted(world, model), _beside(world, more), "test")


def _beside(world, other):
    """The inputs of another world, in the first one's store."""
    other.store = world.store
    other.classes = other.publish_classes("toy", other.num_classes)
    other.videos = other.publish_videos()
    other.frames = other.publish_frames()
    other.texts = other.publish_texts("toy", other.classes, other.texts_KD)
    return other.inputs(negatives=None, corpora=())


@every_method
def test_an_exported_run_says_what_the_run_says(model, tmp_path):
    spec = ClipSpec(arch="tiny-vit", weights=str(save_random_clip(tmp_path / "tiny.safetensors")))
    clip = load_clip(spec)
    world = World(tmp_path / "store", dim=clip.dim, clip=clip.identity)
    run = fitted(world, model)
    kept = export(world.store, run, tmp_path / "out", spec)
    loaded = load(tmp_path / "out")
    assert loaded.config == kept.config
    size = kept.tower.image_size
    pictures = torch.randint(0, 255, (2, 4, 3, size, size), dtype=torch.uint8)
    stored = classifier(world.store, run, spec)
    for protocol in stored.protocols:
        one, two = (each.probabilities(pictures, protocol) for each in (stored, loaded))
        torch.testing.assert_close(one, two, rtol=1e-6, atol=1e-7)
