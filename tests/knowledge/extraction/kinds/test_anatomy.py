"""Anatomy: as many phases as asked for, each whole, no sentence over CLIP's 77 tokens."""

import json
import re

import pandas as pd
import pytest

from artifacts.store import Store
from knowledge.clip.tokens import MAX_TOKENS, clip_tokens
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.anatomy import AnatomyConfig, AnatomyReply, build
from knowledge.extraction.question import ActionClass
from knowledge.extraction.recorded import RecordedReplies
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Dialect
from tests.llm_server import LlmServer


def phase(sentence="A person moves.", subject="person", motion="moves", target=None):
    return {"subject": subject, "motion": motion, "object": target, "sentence": sentence}


def reply(*phases):
    return AnatomyReply.model_validate({"phases": phases})


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def classes(store):
    names = ["run", "walk"]
    rows = pd.DataFrame({"class_id": range(2), "name": names, "group": "all"})
    return register_classes(store, "demo", rows).artifact


def test_three_named_phases_are_asked_for_unless_told_otherwise():
    dive = ActionClass(4, "JumpIntoPool", "jump into pool", "all", True, True)
    (request,) = AnatomyConfig().requests([dive])
    prompt = request.messages[-1].content
    assert "'jump into pool' into exactly 3 consecutive phases: onset, progression, comp" in prompt
    (other,) = AnatomyConfig(num_phases=4).requests([dive])
    assert "into exactly 4 consecutive phases." in other.messages[-1].content
    assert (request.class_id, request.class_name, request.group) == (4, "JumpIntoPool", "")
    form = request.body("m", Dialect())["response_format"]["json_schema"]["schema"]
    for part in (form, form["$defs"]["Phase"]):  # as endpoints that enforce a schema demand
        assert part["additionalProperties"] is False
        assert set(part["required"]) == set(part["properties"])


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400"])
def test_recorded_anatomies_cover_every_class(store, name):
    classes = register_classes(store, name, class_list(name)).artifact
    config = AnatomyConfig()
    model = RecordedReplies(class_list(name)["name"])
    calls = ask(store, classes, config, model, None).artifact
    outcome = build(store, classes, calls, config, min_coverage=1.0)
    report = outcome.artifact.manifest.report
    assert (report["coverage"], report["drops"], report["unanswered_classes"]) == (1, {}, [])
    rows = outcome.artifact.read().to_pylist()
    assert [(row["class_id"], row["stage"]) for row in rows] == [
        (class_id, stage) for class_id in class_list(name)["class_id"] for stage in range(3)
    ]
    for row in rows:
        assert row["n_tokens"] == clip_tokens(row["sentence"]) <= MAX_TOKENS
        assert row["subject"]
        assert row["motion"]
        assert row["object"] != ""
        assert row["model"] == model.model
    assert any(row["object"] is None for row in rows)
    assert not build(store, classes, calls, config).made


def test_a_whole_reply_has_no_problem():
    full = reply(phase(), {"stage": "progression", **phase(target="a ball")}, phase())
    assert AnatomyConfig().problem(full) is None


@pytest.mark.parametrize(
    ("phases", "problem"),
    [
        ([phase()] * 2, "it has 2 phases instead of 3"),
        ([phase()] * 4, "it has 4 phases instead of 3"),
        ([phase(), phase(subject=" "), phase()], "phase 2 has no subject"),
        ([phase(motion=""), phase(), phase("\n")], "phase 1 has no motion; phase 3 has no sent"),
        (
            [phase(), phase(), phase("word " * 76)],
            r"sentence of phase 3 is too long \(78 tokens, at most 77\): write at most 18 words",
        ),
    ],
)
def test_problems_name_the_phase(phases, problem):
    assert re.match(f"(the )?{problem}", AnatomyConfig().problem(reply(*phases)))


def test_the_longest_sentence_can_be_set():
    sentence = "word " * 39
    full = reply(phase(), phase(sentence), phase())
    assert clip_tokens(sentence) == 41
    assert AnatomyConfig(max_tokens=41).problem(full) is None
    assert "(41 tokens, at most 40)" in AnatomyConfig(max_tokens=40).problem(full)
    for wrong in (2, 78):
        with pytest.raises(ValueError, match="max_tokens"):
            AnatomyConfig(max_tokens=wrong)


def test_what_stays_unusable_leaves_its_class_out(store, classes, tmp_path):
    complaints = []

    def answer(body):
        label = body["messages"][1]["content"].split("'")[1]
        complaints.extend(each["content"] for each in body["messages"][3::2])
        if label == "walk":
            return json.dumps({"phases": [phase()]})
        phases = [phase("A run  begins."), phase("Legs move.", target=" "), phase("legs move")]
        return json.dumps({"phases": phases if len(body["messages"]) > 2 else phases[:2]})

    config = AnatomyConfig()
    with LlmServer(answer) as server, Ledger(tmp_path / "ledger") as ledger:
        model = OpenAiChat(server.url, "m")
        calls = ask(store, classes, config, model, ledger).artifact
        model.close()
    assert any("it has 2 phases instead of 3" in each for each in complaints)
    with pytest.raises(ValueError, match=r"usable replies for 1 of 2 classes"):
        build(store, classes, calls, config, min_coverage=0.9)
    assert not store.published("anatomy")
    artifact = build(store, classes, calls, config, min_coverage=0.5).artifact
    artifact.verify()
    assert artifact.read().to_pylist()[0] == {
        "class_id": 0,
        "stage": 0,
        "subject": "person",
        "motion": "moves",
        "object": None,
        "sentence": "A run begins.",
        "n_tokens": clip_tokens("A run begins."),
        "model": "m",
    }
    assert artifact.read()["object"].to_pylist() == [None] * 3
    assert artifact.manifest.facts == {"answered": 1}
    assert artifact.manifest.report == {
        "rows": 3,
        "coverage": 0.5,
        "unanswered_classes": ["walk"],
        "drops": {"invalid": 1},
        "asked_again": 3,
        "warnings": {"name_repeated": 1, "duplicate_phases": 1},
        "name_repeated": ["run"],
        "duplicate_phases": ["run"],
    }
    with pytest.raises(ValueError, match=r"usable replies for 1 of 2 classes"):
        build(store, classes, calls, config, min_coverage=0.9)


def test_no_usable_anatomy_is_an_error(store, classes):
    config = AnatomyConfig(num_phases=4)
    calls = ask(store, classes, config, RecordedReplies(["run", "walk"]), None).artifact
    with pytest.raises(ValueError, match=r"no class has a usable anatomy, drops: \{'invalid': 2\}"):
        build(store, classes, calls, config)
