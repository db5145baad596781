"""Episodes: what they hold, what they depend on, and how they are read."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from artifacts.provenance import Provenance
from tests.training.world import World
from training.config.episodes import EpisodesConfig
from training.evaluation.episodes import draw_episodes, read_episodes


def drawn(world, videos=None, **config):
    config = EpisodesConfig(**({"ways": 3, "shots": 2, "num_episodes": 40} | config))
    return draw_episodes(world.store, videos or world.videos, config)


def slots(artifact):
    """Videos by episode, class and role."""
    found = defaultdict(list)
    for row in artifact.read().to_pylist():
        found[row["episode"], row["class_id"], row["role"]].append(row["video_id"])
    return found


def test_an_episode_is_n_classes_with_k_support_and_q_query_videos_each(world):
    outcome = drawn(world, queries=3)
    found = slots(outcome.artifact)
    by_episode = defaultdict(set)
    for (episode, class_id, role), videos in found.items():
        by_episode[episode].add(class_id)
        assert len(set(videos)) == len(videos) == {"support": 2, "query": 3}[role]
        for video_id in videos:
            assert video_id.startswith("test/")
            assert world.labels[video_id] == class_id
    assert sorted(by_episode) == list(range(40))
    for episode, classes in by_episode.items():
        assert len(classes) == 3
        for c in classes:
            assert not set(found[episode, c, "support"]) & set(found[episode, c, "query"])
    rows = outcome.artifact.read().to_pylist()
    assert rows == sorted(rows, key=lambda row: (row["episode"], row["role"] == "query"))
    assert outcome.artifact.manifest.name == "toy-test-3way-2shot"
    assert outcome.artifact.manifest.report["classes"] == 6


def test_the_same_draw_has_the_same_key_and_bytes(world, tmp_path):
    first, again = drawn(world), drawn(world)
    assert (first.made, again.made) == (True, False)
    elsewhere = drawn(World(tmp_path / "elsewhere")).artifact.manifest
    assert elsewhere.key == first.artifact.manifest.key
    assert elsewhere.content_hash == first.artifact.manifest.content_hash
    for change in ({"seed": 1}, {"shots": 1}, {"split": "val"}, {"num_episodes": 41}):
        other = drawn(world, **change).artifact.manifest
        assert other.key != first.artifact.manifest.key, change
        assert other.content_hash != first.artifact.manifest.content_hash, change


def test_the_order_of_the_videos_does_not_matter(world, tmp_path):
    shuffled = World(tmp_path / "shuffled", shuffle=3)
    assert shuffled.videos.read()["video_id"] != world.videos.read()["video_id"]
    assert drawn(shuffled).artifact.read().equals(drawn(world).artifact.read())


def test_fewer_episodes_are_the_first_ones(world):
    few, many = drawn(world, num_episodes=7).artifact.read(), drawn(world).artifact.read()
    assert few.equals(many.slice(0, few.num_rows))


def test_classes_and_videos_are_drawn_evenly(world):
    rows = drawn(world, num_episodes=2000).artifact.read().to_pylist()
    classes = Counter(row["class_id"] for row in rows if row["role"] == "query")
    assert sum(classes.values()) == 2000 * 3
    assert all(abs(count - 1000) < 120 for count in classes.values()), "five standard deviations"
    for role, num in (("support", 2), ("query", 1)):
        videos = Counter(row["video_id"] for row in rows if row["role"] == role)
        assert len(videos) == 30
        assert all(abs(count - num * 200) < 100 for count in videos.values()), role


def relisted(world, edit):
    rows = world.videos.read().to_pylist()
    for row in rows:
        edit(row)
    return world.publish("videos", rows, {"relisted": 1}, classes=world.classes)


def test_videos_that_cannot_be_used_are_not_drawn(world):
    def edit(row):
        if row["video_id"] == "test/c1/v0":
            row["status"] = "missing"
        if row["video_id"] == "test/c2/v1":
            row["class_ids"] = [2, 3]

    artifact = drawn(world, relisted(world, edit), num_episodes=200).artifact
    found = set(artifact.read()["video_id"].to_pylist())
    used = {video for video in world.labels if video.startswith("test/")}
    assert found == used - {"test/c1/v0", "test/c2/v1"}
    left_out = artifact.manifest.report["videos_left_out"]
    assert left_out == {"missing": 1, "not of one class": 1}


def test_errors_name_class_and_counts(world):
    where = r"split 'test' of videos/toy@\w+ has "
    with pytest.raises(ValueError, match=where + r"videos of 6 classes, fewer than ways=7; give"):
        drawn(world, ways=7)
    few = r"5 usable videos of class 0 \('toy0'\), fewer than shots \+ queries = 3 \+ 3; give small"
    with pytest.raises(ValueError, match=where + few):
        drawn(world, shots=3, queries=3)

    def edit(row):
        if row["video_id"].startswith("test/c4/"):
            row["status"] = "unreadable"

    with pytest.raises(ValueError, match=r"0 usable videos of class 4 \('toy4'\), fewer than"):
        drawn(world, relisted(world, edit))
    with pytest.raises(ValueError, match="ways"):
        EpisodesConfig(ways=1)


def test_reading_joins_by_id(world):
    artifact = drawn(world, queries=2).artifact
    read = read_episodes(artifact)
    assert (read.support_ENS.shape, read.query_ENQ.shape) == ((40, 3, 2), (40, 3, 2))
    found = slots(artifact)
    for episode in range(40):
        classes = read.class_ids_EN[episode].tolist()
        assert classes == sorted(c for e, c, role in found if (e, role) == (episode, "query"))
        for way, class_id in enumerate(classes):
            for role, index in (("support", read.support_ENS), ("query", read.query_ENQ)):
                videos = [read.video_ids[i] for i in index[episode, way].tolist()]
                assert sorted(videos) == sorted(found[episode, class_id, role])
    table = artifact.read()
    shuffled = table.take(np.random.default_rng(0).permutation(table.num_rows))
    config = artifact.manifest.config
    origin = Provenance(kind="episodes", name="shuffled", config=config)
    other = read_episodes(world.store.publish(origin, shuffled))
    assert [read.video_ids[i] for i in read.query_ENQ.flatten().tolist()] == [
        other.video_ids[i] for i in other.query_ENQ.flatten().tolist()
    ]
    assert other.class_ids_EN.equal(read.class_ids_EN)
