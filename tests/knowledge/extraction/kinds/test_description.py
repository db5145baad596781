"""Descriptions: per class and prompt, whole sentences, never over CLIP's 77 tokens."""

import json
import re

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from artifacts.store import Store
from knowledge.clip.tokens import MAX_TOKENS, clip_tokens, fitting
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.description import (
    PROMPT,
    DescriptionConfig,
    build,
    mentions,
)
from knowledge.extraction.question import MAX_REASKS, ActionClass
from knowledge.extraction.recorded import RecordedReplies
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Dialect
from tests.llm_server import LlmServer

TAI_CHI = ActionClass(4, "TaiChi", "tai chi", "all", True, True)
TWO_PROMPTS = {"sta": PROMPT, "short": 'Describe {label} as {"json"}.'}


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def register(store, names):
    classes = pd.DataFrame({"class_id": range(len(names)), "name": names, "group": "all"})
    return register_classes(store, "demo", classes).artifact


def asked(store, classes, config, ledger_path, answer):
    """The replies of a real endpoint."""
    with LlmServer(answer) as server, Ledger(ledger_path) as ledger:
        model = OpenAiChat(server.url, "m")
        calls = ask(store, classes, config, model, ledger).artifact
        model.close()
    return calls, server


def test_prompt_is_the_papers():
    (request,) = DescriptionConfig().requests([TAI_CHI])
    assert request.messages[-1].content == (
        "Q: What are useful visual features for distinguishing tai chi in a video?  A:"
    )
    assert (request.class_id, request.class_name, request.round) == (4, "TaiChi", 1)
    schema = request.body("m", Dialect())["response_format"]["json_schema"]
    assert (schema["name"], schema["schema"]["required"]) == ("description", ["description"])


def test_every_prompt_is_asked_about_every_class():
    config = DescriptionConfig(prompts=TWO_PROMPTS)
    run = ActionClass(5, "run", "run", "all", True, True)
    requests = config.requests([TAI_CHI, run])
    assert [(each.class_id, each.group) for each in requests] == [
        (4, "short"),
        (4, "sta"),
        (5, "short"),
        (5, "sta"),
    ]
    assert requests[0].messages[-1].content == 'Describe tai chi as {"json"}.'
    turned = DescriptionConfig(prompts=dict(reversed(TWO_PROMPTS.items())))
    assert turned.requests([TAI_CHI, run]) == requests


@pytest.mark.parametrize(
    ("prompts", "problem"),
    [
        ({}, "at least 1"),
        ({"a": "What?"}, "prompt a='What\\?' must hold {label} exactly once"),
        ({"a": "{label} or {label}"}, "must hold {label} exactly once"),
        ({"a/b": "{label}"}, "prompt id 'a/b': use letters"),
        ({"a": "{label}", "b": "{label}"}, "prompts a, b are equal"),
    ],
)
def test_prompts_that_cannot_be_asked(prompts, problem):
    with pytest.raises(ValueError, match=problem):
        DescriptionConfig(prompts=prompts)


@pytest.mark.parametrize("name", ["ucf101", "hmdb51", "kinetics400"])
def test_recorded_descriptions_cover_every_class(store, name):
    classes = register_classes(store, name, class_list(name)).artifact
    config = DescriptionConfig()
    model = RecordedReplies(class_list(name)["name"])
    calls = ask(store, classes, config, model, None).artifact
    outcome = build(store, classes, calls, config, min_coverage=1.0)
    report = outcome.artifact.manifest.report
    assert (report["coverage"], report["drops"], report["unanswered_classes"]) == (1, {}, [])
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
        assert (row["prompt_id"], row["model"]) == ("sta", model.model)
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
    classes = register(store, ["run", "walk", "jump", "sit", "stand"])
    texts = {
        "run": "Legs move  fast.\nRunning. " + "Word " * 80,
        "walk": "word " * 80,
        "jump": " ",
        "sit": "A seated body.",
    }

    def answer(body):
        label = body["messages"][1]["content"].split("distinguishing ")[1].split(" in a")[0]
        return json.dumps({"description": texts[label]}) if label in texts else "A person."

    config = DescriptionConfig()
    calls, _ = asked(store, classes, config, tmp_path / "ledger", answer)
    artifact = build(store, classes, calls, config).artifact
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
    assert artifact.manifest.facts == {"answered": 2}
    assert artifact.manifest.report == {
        "rows": 2,
        "coverage": 0.4,
        "unanswered_classes": ["walk", "jump", "stand"],
        "drops": {"invalid": 2, "not_json": 1},
        "asked_again": 3 * MAX_REASKS,
        "shortened": 1,
        "warnings": {"name_absent": 1},
        "name_absent": ["sit"],
    }
    with pytest.raises(ValueError, match=r"usable replies for 2 of 5 classes, 40\.0%, and 50\.0%"):
        build(store, classes, calls, config, min_coverage=0.5)


def test_a_text_that_does_not_fit_is_asked_for_again(store, tmp_path):
    def answer(body):
        complaints = [each["content"] for each in body["messages"][3:]]
        if not complaints:
            return json.dumps({"description": "word " * 80})
        assert "longer than CLIP's 77 tokens" in complaints[0]
        return json.dumps({"description": "Running legs."})

    classes = register(store, ["run"])
    config = DescriptionConfig()
    calls, server = asked(store, classes, config, tmp_path / "ledger", answer)
    artifact = build(store, classes, calls, config, min_coverage=1.0).artifact
    assert artifact.read()["text"].to_pylist() == ["Running legs."]
    assert server.num_requests == 2


def test_a_class_is_covered_by_a_text_for_every_prompt(store, tmp_path):
    def answer(body):
        prompt = body["messages"][1]["content"]
        if prompt.startswith("Describe walk"):
            return json.dumps({"description": ""})
        label = re.search("run|walk", prompt)[0]
        style = "short" if prompt.startswith("Describe") else "long"
        return json.dumps({"description": f"A {style} text on {label}."})

    classes = register(store, ["run", "walk"])
    config = DescriptionConfig(prompts=TWO_PROMPTS)
    calls, _ = asked(store, classes, config, tmp_path / "ledger", answer)
    artifact = build(store, classes, calls, config).artifact
    rows = artifact.read(["class_id", "prompt_id", "text"]).to_pylist()
    assert [tuple(row.values()) for row in rows] == [
        (0, "short", "A short text on run."),
        (0, "sta", "A long text on run."),
        (1, "sta", "A long text on walk."),
    ]
    report = artifact.manifest.report
    assert (report["coverage"], report["unanswered_classes"]) == (0.5, ["walk"])
    with pytest.raises(ValueError, match="1 of 2 classes"):
        build(store, classes, calls, config, min_coverage=1.0)


def test_no_usable_description_is_an_error(store):
    classes = register(store, ["fly to Mars"])
    calls = ask(
        store, classes, DescriptionConfig(), RecordedReplies(["fly to Mars"]), None
    ).artifact
    with pytest.raises(
        ValueError, match=r"no class has a usable description, drops: \{'no_reply': 1\}"
    ):
        build(store, classes, calls, DescriptionConfig())
