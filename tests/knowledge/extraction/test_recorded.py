"""Recorded replies: complete, and given only to the questions that were recorded."""

import gzip
import json
import re
import shutil

import pytest

from knowledge.datasets.class_lists import class_list
from knowledge.extraction.kinds.anatomy import AnatomyConfig
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.extraction.question import ActionClass
from knowledge.extraction.recorded import BUNDLES, REPLIES, RecordedReplies, model_name
from knowledge.llm.messages import Dialect

ROUNDS = {"ava": (3, 5), "stickworld": (3, 5), "charades": (1, 3)}


def actions(name):
    return [
        ActionClass(row.class_id, row.name, row.name, row.group, True, True)
        for row in class_list(name).itertuples()
    ]


def complete(model, request):
    return model.complete(request, Dialect())


@pytest.mark.parametrize("name", BUNDLES)
@pytest.mark.parametrize("config", [DescriptionConfig(), AnatomyConfig()], ids=lambda c: c.kind)
def test_every_class_has_a_text_and_phases(name, config):
    model = RecordedReplies(class_list(name)["name"])
    requests = config.requests(actions(name))
    replies = [complete(model, request) for request in requests]
    assert {reply.status for reply in replies} == {"ok"}
    assert len({reply.text for reply in replies}) == len(requests)


@pytest.mark.parametrize("name", ROUNDS)
def test_every_round_is_recorded_and_no_more(name):
    num_groups, rounds = ROUNDS[name]
    model = RecordedReplies(class_list(name)["name"])
    requests = CooccurrenceConfig(rounds=rounds + 1).question.requests(actions(name))
    statuses = [(request.round, complete(model, request).status) for request in requests]
    per_round = len(class_list(name)) * num_groups
    assert statuses.count((rounds + 1, "no_reply")) == per_round
    assert sum(status == "ok" for _, status in statuses) == rounds * per_round


def test_the_order_of_the_list_is_free_but_its_names_are_not():
    model = RecordedReplies(class_list("ava")["name"])
    first = CooccurrenceConfig().question.requests(actions("ava"))[0]
    assert complete(model, first).status == "ok"
    turned = first.model_copy(update={"candidates": first.candidates[::-1]})
    assert complete(model, turned) == complete(model, first)
    respelled = tuple(name.upper().replace(" ", "_") for name in first.candidates)
    assert complete(model, first.model_copy(update={"candidates": respelled})).status == "ok"
    shorter = first.model_copy(update={"candidates": first.candidates[1:]})
    assert complete(model, shorter).status == "no_reply"
    elsewhere = first.model_copy(update={"group": "person_interaction"})
    assert complete(model, elsewhere).status == "no_reply"


def test_own_bundle_first_then_any():
    (stand,) = DescriptionConfig().requests([ActionClass(0, "stand", "stand", "all", True, True)])

    def text(model):
        return json.loads(complete(model, stand).text)["description"]

    stickworld = RecordedReplies(class_list("stickworld")["name"])
    hmdb51 = RecordedReplies(class_list("hmdb51")["name"])
    assert text(stickworld) != text(hmdb51) == text(RecordedReplies(["stand", "juggle"]))
    camel = DescriptionConfig().requests([ActionClass(0, "TaiChi", "tai chi", "all", True, True)])
    assert complete(RecordedReplies(["TaiChi"]), camel[0]).status == "ok"


def test_what_is_not_recorded_is_an_outcome():
    model = RecordedReplies()
    unknown = DescriptionConfig().requests([ActionClass(0, "fly to Mars", "x", "all", True, True)])
    assert complete(model, unknown[0]).status == "no_reply"
    (known,) = DescriptionConfig().requests([ActionClass(0, "run", "run", "all", True, True)])
    assert complete(model, known).status == "ok"
    assert complete(model, known.model_copy(update={"question": "haiku"})).status == "no_reply"
    assert complete(model, known.model_copy(update={"round": 2})).status == "no_reply"
    assert complete(model, known.model_copy(update={"group": "other"})).status == "no_reply"


def test_phases_are_given_in_the_form_asked_for():
    (stand,) = AnatomyConfig().requests([ActionClass(0, "stand", "stand", "all", True, True)])
    reply = json.loads(complete(RecordedReplies(class_list("stickworld")["name"]), stand).text)
    (_, second, _) = reply["phases"]
    assert second == {
        "subject": "legs",
        "motion": "stay straight and still",
        "object": None,
        "sentence": "The straight legs do not step while the silhouette stays at one position.",
    }


def test_the_model_names_the_content_of_the_bundles(tmp_path):
    names = class_list("ava")["name"]
    model = RecordedReplies(names).model
    assert re.fullmatch("recorded replies [0-9a-f]{8}", model)
    assert model == RecordedReplies(names).model
    assert model != RecordedReplies().model
    assert model == model_name(["ava"])
    copies = [shutil.copytree(REPLIES, tmp_path / each) for each in ("same", "beside", "other")]
    (copies[1] / "ucf101_texts.jsonl.gz").write_bytes(b"another bundle")
    (copies[2] / "ava_texts.jsonl.gz").write_bytes(b"other replies")
    named = [model_name(["ava"], each) for each in copies]
    assert [each == model for each in named] == [True, True, False]


def test_bundles_hold_nothing_but_the_documented_lines():
    for path in REPLIES.glob("*.gz"):
        assert path.read_bytes()[4:8] == b"\0\0\0\0"
        with gzip.open(path, "rt", encoding="utf-8") as file:
            keys = {tuple(sorted(json.loads(line))) for line in file}
        texts = ("class", "class_id", "description", "phases")
        assert keys == {
            texts if "_texts" in path.name else ("class", "class_id", "group", "reply", "round")
        }
