"""Mining by approximate search: its recall is told, and videos may be left short."""

from collections import Counter

import numpy as np
import pytest

from artifacts.jobs import make_all
from knowledge.mining.config import IvfConfig
from knowledge.mining.videos import read_mined_videos
from tests.knowledge.mining.world import job, rich_world, small, unit, world


def many_texts(root):
    """A corpus large enough for two lists, beside the dataset's classes."""
    made = rich_world(root)
    rng = np.random.default_rng(8)
    texts = [(f"text {i}", None) for i in range(100)]
    made.texts[2:] = [made.publish_file("many", texts, unit(rng.standard_normal((100, 8))))]
    return made


def test_approximate_search_tells_its_recall(tmp_path):
    made = many_texts(tmp_path)
    given = {"sizes": small(4, 8), "top_k": 5, "max_rejected": 3}
    exact = made.mine(**given)
    assert made.mine(**given, ivf={"num_lists": 2, "num_probes": 2}) == exact
    assert made.store.get("negatives/toy").manifest.report["recall"] == 1
    ivf = IvfConfig(num_lists=2, num_probes=1)
    approximate = made.mine(**given, ivf=ivf)
    assert approximate != exact
    artifact = made.store.get("negatives/toy")
    few = IvfConfig(num_lists=2, num_probes=1, num_measured=7)
    made.mine(sizes=small(4, 8), ivf=few)
    assert made.store.get("negatives/toy").manifest.report["recall_videos"] == 8  # 1 of each part
    all_at_once = job(made, tmp_path / "all", **given | {"sizes": small(4, 100)}, ivf=ivf)
    assert make_all(all_at_once).artifact.manifest.files == artifact.manifest.files
    whole = job(made, tmp_path / "whole", **given | {"sizes": small(100, 100)}, ivf=ivf)
    videos = read_mined_videos(made.frames, range(30), whole.labels, whole.corpus)
    measured = whole.lists.recall(videos.embedding_ND, 5)
    assert artifact.manifest.report["recall"] == pytest.approx(measured.recall, abs=1e-6)
    assert artifact.manifest.report["recall_k"] == 5
    assert artifact.manifest.report["recall_videos"] == 30
    for row in approximate:
        assert (row["status"], row["rank"]) != ("kept", None) or row["dataset_rank"]
    with pytest.raises(ValueError, match="ivf has no effect without a further corpus"):
        world(tmp_path / "own", foreign=False).mine(ivf=ivf)


def test_lists_that_hold_too_few_texts_leave_videos_short(tmp_path):
    made = many_texts(tmp_path)
    rows = made.mine(top_k=90, ivf=IvfConfig(num_lists=2, num_probes=1))
    kept = Counter(row["video_id"] for row in rows if row["rank"])
    assert len(kept) == 30
    assert max(kept.values()) < 90
    report = made.store.get("negatives/toy").manifest.report
    assert (report["fewest_negatives"], report["videos_short"]) == (min(kept.values()), 30)
    ranks = [row["rank"] for row in rows if row["video_id"] == "v0" and row["rank"]]
    assert ranks == list(range(1, kept["v0"] + 1))
