"""Few-shot accuracies of a metrics artifact, and which metrics those are."""

import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.views.few_shot import FewShotAccuracy, few_shot_accuracies, is_few_shot


@pytest.fixture
def publish(tmp_path):
    def publish(kind, rows, config, **inputs):
        table = pa.Table.from_pylist(rows, schema=schema_of(kind).arrow())
        made_from = dict(inputs_of(**inputs))
        provenance = Provenance(kind=kind, name="toy", config=config, inputs=made_from)
        return Store(tmp_path).publish(provenance, table)

    return publish


def metric(protocol, name, value):
    given = {"split": "val", "protocol": protocol, "metric": name}
    return given | {"value": value, "num_videos": 40}


def test_one_row_per_protocol(publish):
    config = {"split": "val", "ways": 5, "shots": 3, "num_episodes": 8}
    slot = {"episode": 0, "role": "query", "class_id": 2, "video_id": "a"}
    episodes = publish("episodes", [slot], config)
    rows = [
        metric("own", "accuracy", 0.75),
        metric("own", "ci95", 0.02),
        metric("frozen", "accuracy", 0.5),
        metric("frozen", "ci95", 0.0),
    ]
    metrics = publish("metrics", rows, {}, episodes=episodes)
    assert is_few_shot(metrics)
    assert few_shot_accuracies(metrics) == [
        FewShotAccuracy("own", 5, 3, "val", 40, 0.75, 0.02),
        FewShotAccuracy("frozen", 5, 3, "val", 40, 0.5, 0.0),
    ]


def test_other_metrics_are_refused(publish):
    metrics = publish("metrics", [metric("own", "top1", 0.5)], {})
    assert not is_few_shot(metrics)
    with pytest.raises(ValueError, match=r"metrics/toy@\w+ was not measured on few-shot episodes"):
        few_shot_accuracies(metrics)
