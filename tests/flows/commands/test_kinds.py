"""Kinds of knowledge on the command line: each is one file, and none keeps another back."""

import json
import sys

import pytest

from artifacts.store import Store
from knowledge.extraction import kinds
from knowledge.extraction.registry import kind_module, kind_names
from tests.flows.command_line import ASKED, described, failed
from tests.video_files import write_video


def test_a_kind_that_fails_or_halts_keeps_no_other_from_being_asked(actionlore, endpoint, tmp_path):
    both = ("extract", "--classes", "stickworld", "--kind", "cooccurrence", "--kind", "description")
    given = (
        *both,
        "--llm-base-url",
        endpoint.url,
        "--llm-model",
        "m",
        "--set",
        "cooccurrence.rounds=1",
    )

    def answer(body):
        return described(body) if "distinguishing" in str(body) else "no JSON"

    endpoint.answer = answer
    done = actionlore(*given)
    failed(done, "llm_calls/stickworld-cooccurrence@", "not one valid reply")
    assert "kept descriptions/stickworld@" in done.stdout
    store = Store(tmp_path / "store")
    assert store.get("descriptions/stickworld").manifest.num_rows == 36
    assert not store.published("cooccurrence")
    # Of a failure and a halt, the failure is raised and the halt is printed.
    capped = ("--llm-max-tokens", 1, "--set", "description.sampling.temperature=0.3")
    done = actionlore(*given, *capped)
    failed(done, "llm_calls/stickworld-cooccurrence@")
    assert "description: the cap of 1 tokens" in done.stdout.replace("\n", " ")


def test_a_kind_without_a_question_is_left_out(actionlore, endpoint, tmp_path):
    (tmp_path / "one/fly to Mars").mkdir(parents=True)
    write_video(tmp_path / "one/fly to Mars/1.mp4", 4)
    given = ("--dataset", "folder", "--videos", "one", "--name", "one")
    assert actionlore("register", *given).exit_code == 0
    given = ("extract", "--classes", "one", "--kind", "cooccurrence", "--kind", "description")
    asked = ("--llm-base-url", endpoint.url, "--llm-model", "m")
    for options in (("--plan",), ()):
        done = actionlore(*given, *asked, *options)
        assert done.exit_code == 0, done.output
        assert "cooccurrence: the classes of classes/one@" in done.stdout
        assert "lead to no question" in done.stdout.replace("\n", " ")
    assert endpoint.num_requests == 1
    assert Store(tmp_path / "store").get("descriptions/one").manifest.num_rows == 1


def test_what_was_never_recorded_is_a_hint(actionlore, tmp_path):
    (tmp_path / "videos/fly to Mars").mkdir(parents=True)
    write_video(tmp_path / "videos/fly to Mars/1.mp4", 4)
    given = ("--dataset", "folder", "--videos", "videos", "--name", "space")
    assert actionlore("register", *given).exit_code == 0
    done = actionlore("extract", "--classes", "space", "--kind", "anatomy", "--kind", "description")
    assert done.exit_code == 0, done.stderr
    for kind in ("anatomy", "description"):
        assert f"{kind}: nothing is recorded about the classes of classes/space@" in done.stdout
    assert not Store(tmp_path / "store").published("anatomy")


FOURTH_KIND = """
from typing import ClassVar
import pyarrow as pa
from pydantic import BaseModel
from artifacts.provenance import Provenance, inputs_of
from artifacts.kinds import schema_of
from artifacts.artifact import Outcome
from knowledge.extraction.parse import parse
from knowledge.llm.messages import ChatRequest, Message
from knowledge.extraction.question import Question

class Reply(BaseModel):
    colour: str

class CONFIG(Question):
    kind: ClassVar[str] = "colour"
    reply_type: ClassVar[type[BaseModel]] = Reply
    palette: int = 3

    def requests(self, classes):
        return [
            ChatRequest(question="colour", class_id=each.class_id, class_name=each.name,
                        messages=(Message(role="user", content=f"{self.palette} {each.name}"),))
            for each in classes
        ]

def build(store, classes, calls, config, *, min_coverage=0.0, videos=None):
    provenance = Provenance(kind="descriptions", name=classes.ref.name,
                            config=config.model_dump(), inputs=dict(inputs_of(calls=calls)))
    rows = [
        {"class_id": item.class_id, "prompt_id": "colour", "text": item.reply.colour,
         "n_tokens": 3, "model": "m"}
        for item in parse(calls, config, Reply).replies
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("descriptions").arrow())
    return Outcome(store.publish(provenance, table, {}), made=True)
"""


def test_a_kind_is_one_file(actionlore, endpoint, tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/colour.py").write_text(FOURTH_KIND)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path / "more")])
    monkeypatch.delitem(sys.modules, "knowledge.extraction.kinds.colour", raising=False)
    assert kind_names() == ("anatomy", "colour", "cooccurrence", "description")
    endpoint.answer = lambda body: json.dumps({"colour": body["messages"][0]["content"]})
    done = actionlore(
        *("extract", "--classes", "stickworld", "--kind", "colour", "--set", "colour.palette=8"),
        *("--llm-base-url", endpoint.url, "--llm-model", "m"),
    )
    assert done.exit_code == 0, done.output
    assert "llm_calls/stickworld-colour@" in done.stdout
    texts = Store(tmp_path / "store").get("descriptions/stickworld").read()["text"].to_pylist()
    assert texts[:2] == ["8 stand", "8 walk"]
    failed(actionlore(*ASKED, "--set", "colour.x=8"), "unknown setting colour.x", "palette")


@pytest.mark.parametrize("name", kind_names())
def test_every_kind_is_called_like_its_file(name):
    assert kind_module(name).CONFIG.kind == name
    assert callable(kind_module(name).build)
