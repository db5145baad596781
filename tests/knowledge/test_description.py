"""Descriptions: one per class, whole sentences, never over CLIP's 77 tokens."""

import json

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import register_classes
from knowledge.extraction import ActionClass, ask
from knowledge.kinds.description import DescriptionConfig, build, fitting, mentions
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.recorded import RecordedReplies
from knowledge.tokens import MAX_TOKENS, clip_tokens
from tests.llm_server import LlmServer


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def test_prompt_is_the_papers():
    (request,) = DescriptionConfig().requests(
        [ActionClass(4, "TaiChi", "tai chi", "all", True, True)]
    )
    assert request.messages[-1].content == (
        "Q: What are useful visual features for distinguishing tai chi in a video?  A:"
    )
    assert (request.class_id, request.class_name, request.round) == (4, "TaiChi", 1)
    schema = request.body("m")["response_format"]["json_schema"]
    assert (schema["name"], schema["schema"]["required"]) == ("description", ["description"])
    plain = DescriptionConfig(structured=False).requests(
        [ActionClass(4, "TaiChi", "tai chi", "all", True, True)]
    )
    assert "response_format" not in plain[0].body("m")


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400"])
def test_recorded_descriptions_cover_every_class(store, name):
    classes = register_classes(store, name, class_list(name)).artifact
    config = DescriptionConfig()
    model = RecordedReplies(class_list(name)["name"])
    calls = ask(store, classes, config, model, None).artifact
    outcome = build(store, classes, calls, config)
    report = outcome.artifact.manifest.report
    assert (report["coverage"], report["drops"]) == (1, {})
    assert (
        report["warnings"]["name_absent"]
        == len(report["name_absent"])
        < 0.1 * len(class_list(name))
    )
    rows = outcome.artifact.read().to_pylist()
    assert [row["class_id"] for row in rows] == class_list(name)["class_id"].tolist()
    for row in rows:
        assert row["n_tokens"] == clip_tokens(row["text"]) <= MAX_TOKENS
        assert row["text"].endswith(".")
        assert row["model"] == model.model
    assert not build(store, classes, calls, config).made


def test_tokens_are_those_of_clip():
    import open_clip

    tokenize = open_clip.get_tokenizer("ViT-B-32")
    for text in ("", "a photo", "Q: 77 x's, naïve café!", "word " * 75):
        assert clip_tokens(text) == int((tokenize(text)[0] != 0).sum())
    assert clip_tokens("word " * 500) == 502


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("One. Two.", "One. Two."),
        ("No end", "No end"),
        ("", ""),
        ("One is e.g. short. " + "Word " * 80 + ".", "One is e.g. short."),
        ('He says "stop." Then he runs. ' + "Word " * 80, 'He says "stop." Then he runs.'),
        ("word " * 80 + ". Two.", ""),
        ("word " * 80, ""),
    ],
)
def test_fitting(text, kept):
    assert fitting(text) == kept


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii"), max_size=150), max_size=6))
def test_fitting_is_the_longest_beginning_that_fits(parts):
    text = " ".join(" ".join(f"{part}. X" for part in parts).split())
    kept = fitting(text)
    assert text.startswith(kept)
    assert clip_tokens(kept) <= MAX_TOKENS
    if clip_tokens(text) <= MAX_TOKENS:
        assert kept == text


def test_mentions():
    assert mentions("Riding bikes fast", "ride bike")
    assert mentions("A person opens it", "open (e.g., a window)")
    assert not mentions("A person moves", "ride bike")


def test_drops_are_counted_and_the_rest_is_published(store, tmp_path):
    names = ["run", "walk", "jump", "sit", "stand"]
    classes = register_classes(
        store, "demo", pd.DataFrame({"class_id": range(5), "name": names, "group": "all"})
    ).artifact
    texts = {
        "run": "Legs move  fast.\nRunning. " + "Word " * 80,
        "walk": "word " * 80,
        "jump": " ",
        "sit": "A seated body.",
    }

    def answer(body):
        asked = body["messages"][-1]["content"].split("distinguishing ")[1].split(" in a")[0]
        return json.dumps({"description": texts[asked]}) if asked in texts else "A person."

    with LlmServer(answer) as server, Ledger(tmp_path / "ledger") as ledger:
        model = OpenAiChat(server.url, "m")
        calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
        model.close()
    artifact = build(store, classes, calls, DescriptionConfig()).artifact
    assert artifact.read().to_pylist() == [
        {
            "class_id": class_id,
            "prompt_id": "sta",
            "text": text,
            "n_tokens": clip_tokens(text),
            "model": "m",
        }
        for class_id, text in [(0, "Legs move fast. Running."), (3, "A seated body.")]
    ]
    assert artifact.manifest.report == {
        "rows": 2,
        "coverage": 0.4,
        "drops": {"empty": 1, "first_sentence_too_long": 1, "not_json": 1},
        "shortened": 1,
        "warnings": {"name_absent": 1},
        "name_absent": ["sit"],
    }


def test_no_usable_description_is_an_error(store):
    classes = register_classes(
        store, "demo", pd.DataFrame({"class_id": [0], "name": ["fly to Mars"], "group": "all"})
    ).artifact
    calls = ask(
        store, classes, DescriptionConfig(), RecordedReplies(["fly to Mars"]), None
    ).artifact
    with pytest.raises(
        ValueError, match=r"no class has a usable description, drops: \{'no_reply': 1\}"
    ):
        build(store, classes, calls, DescriptionConfig())
