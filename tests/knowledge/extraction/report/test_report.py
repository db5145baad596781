"""The report on knowledge: coverage and cost, a truth that has to fit, and what is printed."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from artifacts.artifact import CorruptArtifactError
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from flows.cli import app
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds import anatomy, cooccurrence, description
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.recorded import RecordedReplies
from knowledge.extraction.report.comparison import TOP
from knowledge.extraction.report.report import knowledge_report
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.messages import LlmError
from knowledge.llm.options import AskingOptions, RetryOptions, SendOptions
from tests.class_rows import publish_videos
from tests.llm_server import LlmServer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def classes(store):
    return register_classes(store, "stickworld", class_list("stickworld")).artifact


def built(store, classes, kind, model, ledger=None, **settings):
    config = kind.CONFIG(**settings)
    calls = ask(store, classes, config, model, ledger).artifact
    return kind.build(store, classes, calls, config).artifact


@pytest.fixture(scope="module")
def recorded(store, classes):
    model = RecordedReplies(class_list("stickworld")["name"])
    return built(store, classes, cooccurrence, model, num=4, keep=4)


@pytest.fixture(scope="module")
def videos(store, classes):
    """Each video holds a class and the one or two after it."""
    ids = [each.class_id for each in read_action_classes(classes)]
    labels = [ids[i : i + 2 + i % 2] for i in range(len(ids) - 3)]
    splits = [("train", "val", "test")[number % 3] for number in range(len(labels))]
    return publish_videos(store, classes, labels, splits, "stickworld")


def test_recorded_knowledge_with_truth(store, recorded, videos):
    found = knowledge_report(store, recorded, videos)
    report = recorded.manifest.report
    assert (found.coverage, found.unanswered_classes, found.classes) == (1, [], 36)
    assert found.agreement == report["agreement"]
    assert found.repeated_rounds == report["repeated_rounds"]
    assert (found.calls.requests, found.calls.attempts, found.calls.usd) == (540, 540, 0)
    assert found.truth.source == str(videos.ref)
    assert found.truth.classes == 36 - 2  # the last two are in no video
    assert list(found.truth.precision) == list(TOP)
    for score in (found.truth.recall, *found.truth.precision.values()):
        assert 0 <= score.votes <= 1
    assert 0 <= found.truth.lift.above_one.votes <= 1
    # All splits count.
    assert found.truth.true_pairs == 2 * (33 + 16)


def test_truth_that_does_not_fit(store, classes, recorded, videos):
    others = register_classes(store, "ava", class_list("ava")).artifact
    with pytest.raises(ValueError, match="registered with another class list than classes/stick"):
        knowledge_report(store, recorded, publish_videos(store, others, [[1, 2]], name="ava"))
    with pytest.raises(ValueError, match="holds no ground truth"):
        knowledge_report(store, recorded, classes)
    with pytest.raises(ValueError, match="was not made from replies of an LLM"):
        knowledge_report(store, videos)
    texts = built(store, classes, description, RecordedReplies(class_list("stickworld")["name"]))
    with pytest.raises(ValueError, match="truth has no effect on descriptions/stickworld"):
        knowledge_report(store, texts, videos)


@pytest.mark.parametrize("kind", [description, anatomy])
def test_other_kinds(store, classes, kind):
    texts = built(store, classes, kind, RecordedReplies(class_list("stickworld")["name"]))
    found = knowledge_report(store, texts)
    assert found.coverage == 1
    assert (found.agreement, found.truth) == (None, None)
    assert found.calls.requests == 36
    done = CliRunner().invoke(app, ["report", str(texts.ref), "--store", store.root])
    assert done.exit_code == 0, done.stderr
    assert "alpha" not in done.stdout


@pytest.mark.parametrize("priced", [True, False])
def test_cost_of_an_endpoint(store, tmp_path, priced):
    """Tokens, attempts and charges as the endpoint billed them, whatever table told the price."""
    names = ["hop", "run", "sit"] if priced else ["walk", "run", "sit"]
    listed = {"class_id": range(3), "name": names, "group": "all"}
    classes = register_classes(store, f"three{priced}", pd.DataFrame(listed)).artifact
    prices = {"m" if priced else "other": {"prompt": 2.0, "completion": 8.0}}
    table = tmp_path / "prices.json"
    table.write_text(json.dumps({"version": "2026-01-31", "prices": {"127.0.0.1": prices}}))
    config = cooccurrence.CONFIG(rounds=2, num=5)
    failing = {2: "500", 4: "400"}
    with (
        LlmServer(
            lambda body: '{"actions": ["run"]}', lambda number, _: failing.get(number)
        ) as server,
        Ledger(tmp_path / "ledger") as ledger,
    ):
        model = OpenAiChat(server.url, "m")
        send = SendOptions(retry=RetryOptions(pause_s=0), limits=LimitsOptions(concurrency=1))
        asking = AskingOptions(send=send, prices=table)
        with pytest.raises(LlmError):
            ask(store, classes, config, model, ledger, config=asking)
        answers = ask(store, classes, config, model, ledger, config=asking).artifact
        model.close()
    artifact = cooccurrence.build(store, classes, answers, config).artifact
    calls = knowledge_report(store, artifact).calls
    assert (calls.requests, calls.attempts, calls.asked_again) == (6, 8, 0)
    assert (calls.prompt_tokens, calls.completion_tokens) == (66, 42)
    assert (calls.endpoint, calls.model) == (server.url, "m")
    assert calls.possibly_billed == 1
    done = CliRunner().invoke(app, ["report", str(artifact.ref), "--store", store.root])
    [line] = [line for line in done.stdout.splitlines() if line.startswith("possibly billed")]
    assert line.split()[2:] == ["1", "attempts", "without", "a", "reply"]
    if not priced:
        assert calls.usd is None
        return
    answered = (66 * 2 + 42 * 8) / 1e6
    # The server error was possibly billed, the refused request was not.
    assert answered < calls.usd == pytest.approx(ledger_usd(tmp_path / "ledger"))


def ledger_usd(path):
    with Ledger(path) as ledger:
        return ledger.charged().usd


def knowledge_with(store, name, kind, report, calls_report):
    """An artifact and its calls that tell no more than given."""
    listed = {"class_id": range(2), "name": ["hop", "run"], "group": "all"}
    classes = register_classes(store, name, pd.DataFrame(listed)).artifact
    calls = store.publish(
        Provenance(kind="llm_calls", name=name, config={"endpoint": "e", "model": "m"}),
        schema_of("llm_calls").arrow().empty_table(),
        calls_report,
    )
    made_from = dict(inputs_of(classes=classes, calls=calls))
    artifact = store.publish(
        Provenance(kind=kind, name=name, config={}, inputs=made_from),
        schema_of(kind).arrow().empty_table(),
        report,
    )
    return artifact, calls


@pytest.mark.parametrize("agreement", [{}, {"agreement": {"alpha": 0.5}}])
def test_what_an_earlier_version_did_not_tell_is_unknown(store, agreement):
    name = f"earlier{len(agreement)}"
    artifact, _ = knowledge_with(store, name, "cooccurrence", agreement, {"requests": 1})
    found = knowledge_report(store, artifact)
    assert (found.coverage, found.drops, found.unanswered_classes) == (None, None, None)
    assert (found.calls.requests, found.calls.attempts, found.calls.usd) == (1, None, None)
    assert found.calls.possibly_billed is None
    done = CliRunner().invoke(app, ["report", str(artifact.ref), "--store", store.root])
    assert done.exit_code == 0, done.output
    for name in ("coverage", "unanswered", "replies dropped", "warnings", "possibly billed"):
        [line] = [line for line in done.stdout.splitlines() if line.startswith(name)]
        assert line.removeprefix(name).split()[0] == "unknown"
    assert "price unknown" in done.stdout
    options = ["report", str(artifact.ref), "--json", "--store", store.root]
    assert json.loads(CliRunner().invoke(app, options).stdout)["coverage"] is None


def test_replies_that_are_gone_are_unknown_and_damaged_ones_an_error(tmp_path):
    store = Store(tmp_path)
    artifact, calls = knowledge_with(store, "damaged", "descriptions", {"coverage": 0.0}, {})
    manifest = Path(store.directory(calls.ref), "manifest.json")
    manifest.write_text("{}")
    with pytest.raises(CorruptArtifactError, match="not a manifest"):
        knowledge_report(store, artifact)
    shutil.rmtree(manifest.parent)
    assert knowledge_report(store, artifact).calls is None


def test_command(store, recorded, videos):
    given = ["report", "cooccurrence/stickworld", "--store", store.root]
    done = CliRunner().invoke(app, [*given, "--truth", "videos/stickworld"])
    assert done.exit_code == 0, done.stderr
    for words in (
        "alpha between rounds",
        "precision at 10",
        "popularity",
        "with lift",
        "100.0% of the classes",
    ):
        assert words in done.stdout
    done = CliRunner().invoke(app, [*given, "--truth", "videos/stickworld", "--json"])
    expected = knowledge_report(store, recorded, videos)
    assert json.loads(done.stdout) == json.loads(expected.model_dump_json())
    done = CliRunner().invoke(app, [*given, "--truth", "none.csv"])
    assert done.exit_code == 1
    assert done.stderr.strip() == "error: truth none.csv does not exist"
    done = CliRunner().invoke(app, ["report", "cooccurrence/none", "--store", store.root])
    assert done.stderr.startswith("error: no artifact cooccurrence/none")
