"""Probabilities of views are averaged, parts of a split are the split, metrics are definitions."""

from contextlib import nullcontext
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
import torch

from tests.training.distributed.two_processes import Leaky
from tests.training.runs import config_of, start
from training.distributed.group import Group
from training.evaluation.metrics import multilabel_metrics
from training.evaluation.scoring import Pass, scored
from training.evaluation.validation import validate
from training.loop.epochs import train_epoch


def test_parts_of_the_processes_are_the_whole_in_order():
    for total in (0, 1, 5, 7, 64):
        index = np.arange(100, 100 + total)
        for size in (1, 2, 3, 8):
            parts = [Group(rank, size).part(index) for rank in range(size)]
            assert np.array_equal(np.concatenate(parts), index)
            assert max(map(len, parts)) - min(map(len, parts)) <= 1


@dataclass
class Views:
    """Several views of every video: cached features, and the same with noise."""

    source: object
    noise: torch.Tensor
    """(V,) how much."""
    unreadable: dict = field(default_factory=dict)
    num_decoded: int = 0

    def stream(self, videos, order, draw):
        generator = torch.Generator().manual_seed(0)
        for index_B, clips in self.source.stream(videos, order, draw):
            noise = torch.randn(clips.shape, generator=generator)
            yield index_B, clips[:, None] + self.noise[:, None, None] * noise[:, None]


def test_probabilities_of_views_are_averaged_not_logits(world):
    run = start(world.inputs(), config_of("model.video_blocks=1"))
    method, videos, K = run.state.method.eval(), run.data.val, world.num_classes
    with torch.no_grad():
        classify = method.protocols(run.data.classes)["mgdm/all"]
    amounts = torch.tensor([0.0, 2.0, 5.0])
    each = Pass(method, Views(run.source, amounts), videos, {"a": classify})
    found = scored(each, K, 10**6, Group())
    order = [np.arange(len(videos))]
    _, clips = next(Views(run.source, amounts).stream(videos, order, None))
    with torch.no_grad():
        views = [classify(method.features(clips[:, v])) for v in range(3)]
    expected = torch.stack(views).mean(dim=0)
    order_NK, sorted_NK = found.top_positions["a"], found.top_probabilities["a"]
    by_class = torch.zeros_like(sorted_NK).scatter(1, order_NK, sorted_NK)
    torch.testing.assert_close(by_class, expected, rtol=0, atol=1e-6)
    logits = torch.stack(views).log().mean(dim=0).softmax(1)
    assert (logits - expected).abs().max() > 1e-2, "averaged logits would look the same here"
    torch.testing.assert_close(by_class.sum(dim=1), torch.ones(len(videos)).double())


def test_too_few_readable_videos_are_neither_scored_nor_trained_on(world):
    """A source sees only its process's share; what counts is the split."""
    run = start(world.inputs(), config_of("model.video_blocks=1"))
    data, config = run.data, run.config
    ids = data.val.video_ids
    for lost, refused in ((ids[: len(ids) // 5], False), (ids[: len(ids) // 5 + 1], True)):
        source = Leaky(run.source, lost)
        with pytest.raises(ValueError, match="cannot be used") if refused else nullcontext():
            validate(run.state.method.eval(), source, data.val, data.classes, config, Group())
    run = replace(run, source=Leaky(run.source, data.videos.video_ids))
    with pytest.raises(ValueError, match=r"split 'train': \d+ of \d+ videos cannot be used"):
        train_epoch(run)


def average_precision(probabilities, labels):
    """Mean over positives of the precision at their place, most probable first."""
    order = sorted(range(len(labels)), key=lambda i: -probabilities[i])
    hits, found = 0, []
    for place, i in enumerate(order, 1):
        hits += labels[i]
        found += [hits / place] if labels[i] else []
    return sum(found) / len(found)


def f1(predicted, labels):
    both = sum(p and t for p, t in zip(predicted, labels, strict=True))
    return 2 * both / max(sum(predicted) + sum(labels), 1)


def test_multilabel_metrics_are_their_definitions():
    """Over the whole split at once; classes that no video has do not count in the mean."""
    generator = torch.Generator().manual_seed(1)
    N, K = 40, 7
    labels = torch.rand(N, K, generator=generator) < 0.3
    labels[:, [2, 5]] = False
    probabilities = torch.rand(N, K, generator=generator)
    found = multilabel_metrics(probabilities, labels)
    present = [k for k in range(K) if labels[:, k].any()]
    columns = {k: (probabilities[:, k].tolist(), labels[:, k].tolist()) for k in present}
    per_class = [average_precision(*columns[k]) for k in present]
    assert len(present) == 5
    assert found["map"] == pytest.approx(np.mean(per_class), abs=1e-6)
    flat = probabilities.flatten().tolist(), labels.flatten().tolist()
    assert found["map_micro"] == pytest.approx(average_precision(*flat), abs=1e-6)
    predicted = (probabilities > 0.5).flatten().tolist()
    assert found["f1_micro"] == pytest.approx(f1(predicted, flat[1]), abs=1e-6)
    each = [f1([p > 0.5 for p in ps], ts) for ps, ts in columns.values()]
    assert found["f1_macro"] == pytest.approx(np.mean(each), abs=1e-6)
    halves = [
        multilabel_metrics(probabilities[i], labels[i])["map"] for i in (slice(20), slice(20, 40))
    ]
    assert found["map"] != pytest.approx(np.mean(halves), abs=1e-3), "no mean over batches"


def test_multilabel_metrics_of_nothing_and_of_logits():
    nothing = multilabel_metrics(torch.rand(3, 2), torch.zeros(3, 2, dtype=torch.bool))
    assert set(nothing.values()) == {0.0}
    with pytest.raises(ValueError, match="probabilities"):
        multilabel_metrics(torch.tensor([[2.0, 0.1]]), torch.tensor([[True, False]]))
