"""Videos with fewer mined negatives than wanted: the gaps reach neither loss nor gradient."""

import numpy as np
import pytest
import torch

from knowledge.mining.config import MiningConfig
from knowledge.mining.job import mine
from training.config.overrides import override
from training.data.batch import Batch
from training.data.class_list import read_classes
from training.data.negatives import read_negatives
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.models.build import build
from training.models.registry import recipe


def config_of(*settings):
    plain = ["data.num_frames=4", "model.negatives.k=3"]
    return override(recipe("mgdm_small").config, [*plain, *settings])


@pytest.mark.parametrize("guide", ["positive", "own"])
@pytest.mark.parametrize("scope", ["sample", "batch"])
def test_gaps_left_by_filters_are_masked(world, guide, scope):
    """Whatever stands in a gap, loss and gradients are the same; nothing is padded."""
    mining = MiningConfig(top_k=3, min_cosine=0.05)
    args = (world.store, world.videos, world.frames, [world.texts, world.corpus], mining)
    mined = mine(*args).artifact
    inputs = world.inputs(negatives=mined)
    config = config_of(f"model.guide={guide}", f"model.discriminator.scope={scope}")
    classes = read_classes(inputs.classes, inputs.texts)
    cached = CachedClips(inputs.frames)
    videos = read_videos(inputs, config, "train", cached)
    found = read_negatives(inputs, config.model, videos, classes)
    counts = dict.fromkeys(videos.video_ids, 0)
    for row in mined.read(["video_id", "dataset_rank"]).to_pylist():
        counts[row["video_id"]] += row["dataset_rank"] is not None
    assert found.present_NR.sum(dim=1).tolist() == [1 + counts[v] for v in videos.video_ids]
    assert 0 < found.num_short < len(videos)
    order_N = found.present_NR.sum(dim=1).argsort(stable=True)
    rows = torch.cat([order_N[:6], order_N[-6:]])  # the shortest and the fullest
    frames = cached.fetch([videos.video_ids[i] for i in rows.tolist()])
    texts = found.features_MD[found.rows_NR[rows]]
    present = found.present_NR[rows]
    assert not present.all()
    values = []
    for noise in (0.0, 7.0):
        model = build(config, world.dim, classes)
        filled = texts + noise * (~present)[..., None]
        batch = Batch(
            video_ids=tuple(videos.video_ids[i] for i in rows.tolist()),
            clips=frames,
            class_ids_B=videos.class_ids_N[rows],
            columns={
                "texts_BRD": filled,
                "text_class_ids_BR": found.class_ids_NR[rows],
                "text_present_BR": present,
            },
        )
        loss = model.losses(model.encode(batch))["loss"]
        loss.backward()
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        values.append([loss.detach(), *grads])
    for first, second in zip(*values, strict=True):
        np.testing.assert_allclose(first.numpy(), second.numpy(), rtol=1e-5, atol=1e-7)
    assert float(values[0][0]) > 0
