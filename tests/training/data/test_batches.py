"""Artifacts are joined by id; what does not belong together is refused in one line."""

from pathlib import Path

import numpy as np
import pytest
import torch

from artifacts.artifact import CorruptArtifactError
from artifacts.tensors import read_tensor
from tests.training.world import SPLITS, World
from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import make_batch
from training.data.checks import check_inputs
from training.data.class_list import ensembles, read_classes
from training.data.negatives import read_negatives
from training.data.order import EpochSeed, Shuffled, chunks
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.loop.trainer import train
from training.models.build import read_data
from training.models.mgdm.config import MgdmConfig


def config_of(*settings):
    plain = ["data.num_frames=4", "model.negatives.k=3"]
    return override(RunConfig(model=MgdmConfig()), [*plain, *settings])


def refused(world, inputs, *settings):
    """The message that training stops with; a config error later in the way is not reached."""
    with pytest.raises(ValueError, match=r"\A[^\n]*\Z") as error:
        train(world.store, inputs, config_of("model.heads=31", *settings), "t")
    assert not list(world.store.published("training_run"))
    assert not world.store.drafts.exists() or not list(world.store.drafts.glob("training_run*"))
    return str(error.value)


def test_shuffled_rows_give_the_same_batches(tmp_path):
    plain = World(tmp_path / "a")
    mixed = World(tmp_path / "b", shuffle=1)
    assert plain.frames.manifest.content_hash != mixed.frames.manifest.content_hash
    for settings in ([], ["model.negatives.corpus=union"]):
        config = config_of(*settings)
        data, other = read_data(plain.inputs(), config), read_data(mixed.inputs(), config)
        assert data.videos.video_ids == other.videos.video_ids
        for index in Shuffled(len(data.videos), 10, 0).batches(1):
            one = make_batch(
                data.videos,
                index,
                next(data.cached.stream(data.videos, [index], None))[1],
                data.joined,
            )
            two = make_batch(
                other.videos,
                index,
                next(other.cached.stream(other.videos, [index], None))[1],
                other.joined,
            )
            assert one.video_ids == two.video_ids
            for name in ("clips", "class_ids_B"):
                assert torch.equal(getattr(one, name), getattr(two, name)), name
            assert one.columns.keys() == {"texts_BRD", "text_class_ids_BR"}
            for name, column in one.columns.items():
                assert torch.equal(column, two.columns[name]), name


def test_features_are_unit_rows_times_their_length(world):
    cached = CachedClips(world.frames)
    table = world.frames.read()
    row = table["video_id"].to_pylist().index("test/c2/v1")
    unit = read_tensor(table, "embedding")[row].astype(np.float32)
    norm = read_tensor(table, "feature_norms")[row]
    found = cached.fetch(["train/c0/v0", "test/c2/v1"])[1]
    np.testing.assert_array_equal(found.numpy(), unit * norm[:, None])


def negatives_of(world, *settings):
    config = config_of(*settings)
    data = read_data(world.inputs(), config)
    i = data.videos.video_ids.index("train/c2/v0")
    texts = read_classes(world.classes, world.texts).prompts_KD
    return data.joined[0], i, texts


def test_negatives_are_the_slice_of_the_dataset_or_of_the_union(world):
    """Of class 2: toy 3, other 0, toy 4, 5, 0, 1, other 1 in this order."""
    cases = {
        (): [2, 3, 4, 5],
        ("model.negatives.slice=[1, 4]",): [2, 4, 5, 0],
        ("model.negatives.corpus=union",): [2, 3, -1, 4],
        ("model.negatives.k=7", "model.negatives.corpus=union"): [2, 3, -1, 4, 5, 0, 1, -1],
        ("model.negatives.k=0",): [2],
    }
    for settings, expected in cases.items():
        found, i, texts = negatives_of(world, *settings)
        assert found.class_ids_NR[i].tolist() == expected
        assert found.present_NR.all()
        rows = found.features_MD[found.rows_NR[i]]
        for class_id, row in zip(expected, rows, strict=True):
            if class_id >= 0:
                assert torch.equal(row, texts[class_id])
    foreign = world.corpus.read()
    where = foreign["text_id"].to_pylist().index("other/1/prompt")
    vector = torch.from_numpy(read_tensor(foreign, "embedding"))[where] * 6.0
    found, i, _ = negatives_of(world, "model.negatives.k=7", "model.negatives.corpus=union")
    assert torch.equal(found.features_MD[found.rows_NR[i]][-1], vector)


def test_a_video_short_of_negatives_has_gaps(world):
    def edit(rows):
        drop = [r for r in rows if r["video_id"] == "train/c2/v0" and (r["rank"] or 0) > 2]
        return [row for row in rows if row not in drop]

    inputs = world.inputs(negatives=world.publish_negatives(edit=edit))
    data = read_data(inputs, config_of())
    i = data.videos.video_ids.index("train/c2/v0")
    assert data.joined[0].present_NR[i].tolist() == [True, True, False, False]
    assert data.joined[0].class_ids_NR[i].tolist() == [2, 3, -1, -1]
    assert data.joined[0].num_short == 1
    batch = make_batch(data.videos, np.array([i]), torch.zeros(1), data.joined)
    assert batch.columns["text_present_BR"].tolist() == [[True, True, False, False]]
    whole = make_batch(data.videos, np.array([0]), torch.zeros(1), data.joined)
    assert "text_present_BR" not in whole.columns


def test_orders_and_draws_depend_on_seed_epoch_and_video_only():
    def order(num_videos, seed, epoch, batch_size=50):
        batches = Shuffled(num_videos, batch_size, seed).batches(epoch)
        assert len(batches) == Shuffled(num_videos, batch_size, seed).num_steps
        return np.concatenate(batches)

    assert sorted(order(9, 0, 1)) == list(range(9))
    assert (order(50, 0, 1) == order(50, 0, 1, batch_size=8)).all()
    assert (order(50, 0, 1) != order(50, 0, 2)).any()
    assert (order(50, 0, 1) != order(50, 1, 1)).any()
    draws = {
        EpochSeed(seed, epoch).generator(video).integers(2**60)
        for seed in (0, 1)
        for epoch in (1, 2)
        for video in ("a", "b")
    }
    assert len(draws) == 8
    assert EpochSeed(0, 1).generator("a").random() == EpochSeed(0, 1).generator("a").random()
    assert [part.tolist() for part in chunks(np.arange(5), 2)] == [[0, 1], [2, 3], [4]]


def test_several_descriptions_of_a_class_are_averaged_as_unit_rows():
    features = torch.tensor([[3.0, 0.0], [0.0, 2.0], [4.0, 3.0]])
    mean_of_two, alone = ensembles(features, [[0, 1], [2]])
    assert torch.allclose(mean_of_two, torch.tensor([0.5, 0.5]))
    assert torch.equal(alone, features[2])


def test_descriptions_fall_back_to_prompts(world):
    classes = read_classes(world.classes, world.texts)
    assert classes.class_ids == tuple(range(6))
    assert classes.without_description == 4
    assert torch.equal(classes.descriptions_KD[1], classes.prompts_KD[1])
    assert not torch.equal(classes.descriptions_KD[2], classes.prompts_KD[2])
    bare = read_classes(world.classes, world.publish_texts("bare", world.classes, world.texts_KD))
    assert bare.descriptions_KD is None
    assert bare.without_description == 0


def test_unreadable_videos_are_counted_and_bounded(tmp_path):
    world = World(tmp_path, broken={"train/c0/v0", "train/c1/v3"})
    videos = read_videos(world.inputs(), config_of(), "train", CachedClips(world.frames))
    assert videos.skipped == {"unreadable": 2}
    assert videos.num_listed == 6 * SPLITS["train"] == len(videos) + 2
    assert "train/c0/v0" not in videos.video_ids
    message = refused(world, world.inputs(), "data.max_unreadable=0.01")
    assert "2 of 72 videos cannot be used, more than data.max_unreadable=0.01" in message


def test_equal_content_under_another_key_is_accepted(world):
    again = world.publish_videos({"made": "elsewhere"})
    assert again.ref != world.videos.ref
    check_inputs(world.inputs(videos=again), config_of())


def test_missing_inputs(world):
    assert "needs frame_embeddings of videos/toy" in refused(world, world.inputs(frames=None))
    message = refused(world, world.inputs(negatives=None))
    assert "run `actionlore mine`, or set model.negatives.k=0" in message
    assert "needs a CLIP model" in refused(world, world.inputs(), "data.features=videos")
    message = refused(world, world.inputs(texts=world.frames))
    assert "frame_embeddings/toy" in message
    assert "given as texts, which must be text_embeddings" in message


def test_inputs_of_other_classes_videos_or_frames(world, tmp_path):
    other = World(tmp_path / "other", num_classes=7, seed=1)
    message = refused(world, world.inputs(classes=other.classes))
    assert "videos/toy" in message
    assert "run `actionlore register` again" in message
    message = refused(world, world.inputs(texts=other.texts))
    assert message.startswith("text_embeddings/toy")
    assert "was made from classes/toy" in message
    assert "run `actionlore mine` again" in message
    message = refused(world, world.inputs(frames=other.frames))
    assert message.startswith("frame_embeddings/toy")
    message = refused(world, world.inputs(negatives=other.negatives))
    assert message.startswith("negatives/toy")
    assert "run `actionlore mine` again" in message
    newer = world.publish_frames()
    message = refused(world, world.inputs(frames=newer))
    assert message.startswith("negatives/toy")
    assert "was made from frame_embeddings/toy" in message


def test_other_sampling_clip_or_corpora(world):
    message = refused(world, world.inputs(), "data.num_frames=8")
    assert (
        "holds 4 frames per video, but data.num_frames=8; run `actionlore mine --frames 8`"
        in message
    )
    message = refused(world, world.inputs(), "data.test_offset=start")
    assert "sampled at the segments' center, but data.test_offset=start" in message
    message = refused(world, world.inputs(corpora=()), "model.negatives.corpus=union")
    assert "was made from text_embeddings/other" in message
    check_inputs(world.inputs(corpora=()), config_of())
    wrong = {"arch": "toy", "weights_sha256": "1" * 64}
    texts = world.publish_texts("toy", world.classes, world.texts_KD, clip=wrong)
    message = refused(world, world.inputs(texts=texts), "model.negatives.k=0")
    assert "was made with CLIP toy (000000000000), but text_embeddings/toy" in message
    message = refused(world, world.inputs(texts=texts))
    assert "was mined among text_embeddings/toy" in message


def test_too_few_negatives(world):
    few = world.publish_negatives(top_k=4)
    message = refused(world, world.inputs(negatives=few), "model.negatives.k=5")
    assert "holds the 4 hardest texts per video, but ranks [0, 5]" in message
    assert "run `actionlore mine --top-k 5` again" in message
    message = refused(world, world.inputs(), "model.negatives.k=7")
    assert "no training video has 7 negatives in ranks [0, 7] (from 0) of corpus dataset" in message
    assert "the most is 5" in message


def test_wrong_rows(world):
    def own(rows):
        return [
            row | {"class_id": 2} if row["video_id"] == "train/c2/v0" and row["rank"] == 1 else row
            for row in rows
        ]

    message = refused(world, world.inputs(negatives=world.publish_negatives(edit=own)))
    assert "video 'train/c2/v0' has its own class 2 as a negative" in message

    edited = world.publish_negatives(
        edit=lambda rows: [
            row | ({"text_id": "toy/9/prompt"} if row["text_id"] == "toy/4/prompt" else {})
            for row in rows
        ],
        top_k=9,
    )
    message = refused(world, world.inputs(negatives=edited))
    assert "names text 'toy/9/prompt', of which no text_embeddings are given" in message
    short = world.publish_texts("toy", world.classes, world.texts_KD[:5])
    message = refused(world, world.inputs(texts=short), "model.negatives.k=0")
    assert "has no prompt of class 5 ('toy5'); run `actionlore mine` again" in message


def test_a_damaged_file_is_named(world):
    path = f"{world.store.directory(world.frames.ref)}/part-00000.parquet"
    data = bytearray(Path(path).read_bytes())
    data[2000] ^= 1
    Path(path).write_bytes(data)
    with pytest.raises(CorruptArtifactError, match=r"frame_embeddings/toy@.*SHA-256 differs"):
        train(world.store, world.inputs(), config_of(), "t")


def test_a_split_without_videos_names_those_there_are(tmp_path):
    world = World(tmp_path, splits={"val": 2, "test": 2})
    cached = CachedClips(world.frames)
    with pytest.raises(ValueError, match=r"no video in split 'train'; it has test, val"):
        read_videos(world.inputs(), config_of(), "train", cached)


def test_videos_need_exactly_one_class(world):
    world.labels = {"train/a": 0, "train/b": 1}
    rows_of = world.publish

    def two(kind, rows, *args, **inputs):
        return rows_of(kind, [row | {"class_ids": [0, 1]} for row in rows], *args, **inputs)

    world.publish = two
    videos = world.publish_videos()
    with pytest.raises(ValueError, match="'train/a' has 2 classes, but the model needs exactly"):
        read_videos(world.inputs(videos=videos), config_of(), "train", None)


def test_unknown_negatives_config_needs_no_negatives(world):
    config = config_of("model.negatives.k=0")
    data = read_data(world.inputs(negatives=None), config)
    assert data.joined[0].rows_NR.shape == (len(data.videos), 1)
    assert "negatives" not in world.inputs().used(config)
    assert "corpus_0" not in world.inputs().used(config_of())
    assert "corpus_0" in world.inputs().used(config_of("model.negatives.corpus=union"))
    found = read_negatives(world.inputs(), config.model, data.videos, data.classes)
    assert torch.equal(found.class_ids_NR[:, 0], data.videos.class_ids_N)
