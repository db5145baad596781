"""The whole chain on real videos, through Prefect; the second run does nothing."""

import pytest

from artifacts.store import Store
from artifacts.views.lineage import lineage

SETTINGS = (
    "data.num_frames=4",
    "optim.epochs=2",
    "optim.warmup_epochs=0",
    "model.video_blocks=1",
    "model.negatives.k=2",
)


@pytest.fixture(scope="module")
def spec(videos, weights):
    from flows.orchestration.specs.pipeline import PipelineSpec

    return PipelineSpec.model_validate(
        {
            "dataset": {"dataset": "folder", "videos": videos, "name": "tiny"},
            "clip": {"arch": "tiny-vit", "weights": str(weights)},
            "corpus": ("hmdb51",),
            "settings": SETTINGS,
            "device": "cpu",
        }
    )


@pytest.fixture(scope="module")
def first(spec, tmp_path_factory):
    from flows.pipeline import pipeline

    store = str(tmp_path_factory.mktemp("store"))
    return store, pipeline(store, spec)


def total(reports, what):
    return sum(each.work.get(what, 0) for each in reports)


def test_the_first_run_makes_everything(first):
    store, reports = first
    kinds = [each.ref.split("/")[0] for each in reports]
    assert kinds == [
        "classes",
        "videos",
        "llm_calls",
        "llm_calls",
        "descriptions",
        "text_embeddings",
        "text_embeddings",
        "frame_embeddings",
        "negatives",
        "training_run",
        "predictions",
        "metrics",
    ]
    assert all(each.made for each in reports)
    assert total(reports, "frames_encoded") == 12 * 4
    assert total(reports, "epochs") == 2
    for artifact in Store(store).published():
        artifact.verify()


def test_every_video_is_mined_or_listed_with_a_reason(first):
    store = Store(first[0])
    mined = set(store.get("negatives/tiny").read()["video_id"].to_pylist())
    for row in (
        store.get("frame_embeddings/tiny").read(["video_id", "status", "reason"]).to_pylist()
    ):
        if row["status"] == "ok" and row["video_id"].startswith("train"):
            assert row["video_id"] in mined
        elif row["status"] != "ok":
            assert row["reason"]


def test_a_second_run_does_nothing_and_says_so(first, spec, capsys):
    from flows.pipeline import pipeline
    from flows.terminal.work import show_reports

    store, before = first
    reports = pipeline(store, spec)
    assert [each.ref for each in reports] == [each.ref for each in before]
    assert not any(each.made or each.work for each in reports)
    show_reports(reports, store)
    printed = capsys.readouterr().out
    assert "0 LLM calls, 0 videos decoded, 0 frames encoded, 0 texts encoded" in printed
    assert "found by its key: nothing had to be done" in printed


def test_a_changed_setting_only_trains_anew(first, spec):
    from flows.pipeline import pipeline

    changed = spec.model_copy(update={"settings": (*SETTINGS, "seed=1")})
    reports = pipeline(first[0], changed)
    made = [each.ref.split("/")[0] for each in reports if each.made]
    assert made == ["training_run", "predictions", "metrics"]


def test_lineage_leads_from_the_checkpoint_to_the_raw_replies(first):
    store = Store(first[0])
    nodes = list(lineage(store, store.get("training_run/tiny-mgdm_small")))
    assert all(node.num_rows is not None for node in nodes)
    refs = [node.artifact for node in nodes]
    calls = [ref for ref in refs if ref.startswith("llm_calls/tiny-description")]
    assert calls
    replies = store.get(calls[0]).read(["reply", "status"]).to_pylist()
    assert all(row["status"] == "ok" and "description" in row["reply"] for row in replies)


def test_same_videos_elsewhere_give_the_same_keys(first, spec, tmp_path):
    from flows.pipeline import pipeline

    again = pipeline(str(tmp_path / "other"), spec)
    keys = {each.ref for each in first[1] if not each.ref.startswith("metrics")}
    assert {each.ref for each in again if not each.ref.startswith("metrics")} == keys
