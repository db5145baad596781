"""Co-occurrence: what is asked and published; AVA's matrix makes sense."""

import json
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from artifacts.store import Store
from artifacts.views.class_matrix import to_matrix
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.cooccurrence import CONFIG, CooccurrenceConfig, base_classes, build
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.recorded import RecordedReplies
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.options import AskingOptions, SendOptions
from tests.class_rows import make_actions, publish_videos
from tests.llm_server import LlmServer


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": 6, "num": 5}, "keep=6 is more than the num=5"),
        ({"min_votes": 4, "rounds": 3}, "min_votes=4 cannot be reached in 3 rounds"),
        ({"mirror": "novel"}, "mirror='novel' has no effect with split='none'"),
        ({"top_k": 0}, "greater than or equal to 1"),
        ({"topk": 3}, "Extra inputs"),
    ],
)
def test_settings_without_effect_are_errors(settings, message):
    with pytest.raises(ValidationError, match=message):
        CooccurrenceConfig(**settings)


def test_requests():
    actions = make_actions(["a"] * 4 + ["b"] * 3 + ["alone"])
    requests = CooccurrenceConfig(rounds=3, num=10).question.requests(actions)
    assert len(requests) == 3 * (8 * 3 - 1)
    first = requests[0]
    prompt = first.messages[-1].content
    assert prompt.startswith(
        'Please select 3 actions that may occur simultaneously with "action 0" in ["action '
    )
    assert set(json.loads(re.search(r"\[.*\]", prompt)[0])) == {a.name for a in actions[:4]}
    orders = {r.candidates for r in requests if (r.class_id, r.group) == (0, "a")}
    assert len(orders) > 1
    assert requests == CooccurrenceConfig(rounds=3, num=10).question.requests(actions)
    assert requests != CooccurrenceConfig(rounds=3, num=10, seed=1).question.requests(actions)
    assert first.reply_schema["additionalProperties"] is False


def test_a_label_is_written_like_the_candidates():
    actions = make_actions(["all"] * 2)
    actions = [replace(each, prompt_name=f"jetée {each.class_id}") for each in actions]
    prompt = CooccurrenceConfig(rounds=1).question.requests(actions)[0].messages[-1].content
    assert 'simultaneously with "jetée 0" in ["jetée ' in prompt


def test_uniform_interface():
    assert CONFIG is CooccurrenceConfig
    assert not CONFIG().needs_videos
    assert CONFIG(split="base75").needs_videos
    assert [CONFIG(rounds=n).resolved_min_votes for n in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def extracted(store, name, config):
    classes = register_classes(store, name, class_list(name)).artifact
    model = RecordedReplies(class_list(name)["name"])
    return classes, ask(store, classes, config, model, None).artifact


@pytest.mark.parametrize(("top_k", "saved"), [(10, 0), (24, 202)])
def test_early_stop_on_ava(store, top_k, saved):
    matrices = []
    for early_stop in (False, True):
        config = CooccurrenceConfig(top_k=top_k, early_stop=early_stop)
        classes, calls = extracted(store, "ava", config)
        ids = [each.class_id for each in read_action_classes(classes)]
        artifact = build(store, classes, calls, config).artifact
        matrices.append(to_matrix(artifact.read(), "selected", ids).values)
    np.testing.assert_array_equal(*matrices)
    assert calls.manifest.report["not_needed"] == saved
    assert calls.manifest.num_rows == 1200 - saved


def test_ava_with_five_recorded_rounds(store):
    config = CooccurrenceConfig()
    classes, calls = extracted(store, "ava", config)
    outcome = build(store, classes, calls, config)
    assert outcome.made
    report = outcome.artifact.manifest.report
    assert (report["requests"], report["replies"]) == (1200, 1200)
    assert report["coverage"] == 1
    assert report["unanswered_classes"] == report["classes_without_partner"] == []
    assert (report["drops"], report["inventions"]) == ({}, 0)
    assert report["rows_from"] == {"train": 0, "llm": 80}
    found = report["agreement"]
    assert 0.5 < found["alpha"] < 0.9
    assert 0.4 < found["unanimous"] < 0.9
    assert 0.6 < found["margin"] < 0.9
    assert found["asymmetry"]["pairs"] == (14 * 13 + 49 * 48 + 17 * 16) / 2
    assert found["asymmetry"]["share"] == pytest.approx(
        2 * found["asymmetry"]["noise"] * (1 - found["asymmetry"]["noise"])
    )
    assert report["repeated_rounds"] < 0.1
    assert report["warnings"] == {}
    table = outcome.artifact.read().to_pandas()
    assert report["rows"] == len(table)
    assert table.loc[table["votes"] > 0, "rounds"].eq(5).all()
    names = {each.class_id: each.name for each in read_action_classes(classes)}
    chosen = table[table["selected"] & (table["source"] == "llm")].assign(
        name=lambda t: t["class_id"].map(names), other=lambda t: t["other_id"].map(names)
    )
    assert chosen["votes"].min() >= 3
    assert chosen.groupby("class_id").size().max() <= 10
    partners = chosen.groupby("name")["other"].agg(set)
    assert {"sit", "drink"} <= partners["eat"]
    assert {"shovel", "stand"} <= partners["dig"]
    assert {"sit", "stand"} <= partners["text on/look at a cellphone"]
    assert "fight/hit (a person)" in partners["martial art"]
    assert "sing to (e.g., self, a person, a group)" in partners["play musical instrument"]
    assert "swim" not in partners["eat"] | partners["answer phone"] | partners["read"]
    again = build(store, classes, calls, config)
    assert (again.made, again.artifact.ref) == (False, outcome.artifact.ref)


@pytest.mark.parametrize("split", ["base75", "base50"])
def test_base_rows_come_from_training_labels(store, split):
    config = CooccurrenceConfig(rounds=5, num=4, keep=4, split=split)
    classes, calls = extracted(store, "stickworld", config)
    actions = read_action_classes(classes)
    is_base = base_classes(actions, config)
    base = [a.class_id for a, flag in zip(actions, is_base, strict=True) if flag]
    novel = [a.class_id for a, flag in zip(actions, is_base, strict=True) if not flag]
    labels = [[base[0], base[1]], [base[0], base[1], novel[0]], [base[0], base[2]], [novel[0]]]
    unseen = [[base[0], base[3]]]
    splits = ["train"] * 4 + ["test"]
    videos = publish_videos(store, classes, labels + unseen, splits)
    outcome = build(store, classes, calls, config, videos=videos)
    report = outcome.artifact.manifest.report
    assert report["rows_from"] == {"train": len(base), "llm": len(novel)}
    table = outcome.artifact.read()
    ids = [a.class_id for a in actions]
    selected = to_matrix(table, "selected", ids).values
    count = to_matrix(table, "count", ids).values
    place = {class_id: number for number, class_id in enumerate(ids)}
    row = {ids[j] for j in np.flatnonzero(selected[place[base[0]]])}
    assert {i for i in row if i in base} == {base[0], base[1], base[2]}
    assert count[place[base[0]], place[base[1]]] == 2
    assert count[~is_base].sum() == count[:, ~is_base].sum() == 0
    # Base rows see novel classes only where the novel class selected them.
    by_novel = selected[~is_base][:, is_base]
    np.testing.assert_array_equal(selected[is_base][:, ~is_base], by_novel.T)
    assert by_novel.any()
    sources = table.to_pandas().set_index(["class_id", "other_id"])["source"]
    assert sources[base[0], base[1]] == "train"
    assert sources[base[0], base[0]] == "self"
    assert set(sources[(sources == "mirror")].index.get_level_values("other_id")) <= set(novel)


def test_inputs_that_do_not_fit(store):
    config = CooccurrenceConfig(rounds=5, num=4, keep=4)
    classes, calls = extracted(store, "stickworld", config)
    videos = publish_videos(store, classes, [[1, 2]])
    with pytest.raises(ValueError, match=r"videos/demo@\w+ has no effect with split='none'"):
        build(store, classes, calls, config, videos=videos)
    split = config.model_copy(update={"split": "base75"})
    others = register_classes(store, "ava", class_list("ava")).artifact
    with pytest.raises(ValueError, match="registered with another class list"):
        build(store, classes, calls, split, videos=publish_videos(store, others, [[1, 2]]))
    with pytest.raises(ValueError, match=r"class_ids \[99\] that the class list does not have"):
        build(store, classes, calls, split, videos=publish_videos(store, classes, [[1, 99]]))
    with pytest.raises(ValueError, match="asked with other settings"):
        build(store, classes, calls, CooccurrenceConfig(rounds=4))


def test_rounds_that_were_not_recorded_are_counted(store):
    config = CooccurrenceConfig()
    classes, calls = extracted(store, "charades", config)
    report = build(store, classes, calls, config).artifact.manifest.report
    assert report["drops"] == {"no_reply": 2 * 157}
    assert (report["coverage"], report["replies"]) == (1, 3 * 157)


def test_rounds_that_repeat_are_a_warning(store, tmp_path):
    classes = register_classes(
        store, "demo", pd.DataFrame({"class_id": [0, 1], "name": ["a", "b"], "group": "all"})
    ).artifact
    config = CooccurrenceConfig(num=5)
    with (
        LlmServer(lambda body: '{"actions": ["a"]}') as server,
        Ledger(tmp_path / "ledger") as ledger,
    ):
        model = OpenAiChat(server.url, "m")
        calls = ask(store, classes, config, model, ledger).artifact
        model.close()
    report = build(store, classes, calls, config).artifact.manifest.report
    assert report["repeated_rounds"] == 1
    assert report["warnings"] == {"repeated_rounds": 1}


def test_too_few_classes_answered_in_every_group(store, tmp_path):
    classes = register_classes(
        store,
        "demo",
        pd.DataFrame({"class_id": range(4), "name": list("abcd"), "group": [*"xxyy"]}),
    ).artifact

    config = CooccurrenceConfig(rounds=1)
    behave = {3: "refusal"}
    with (
        LlmServer(
            lambda body: '{"actions": ["b", "d"]}', lambda number, _: behave.get(number)
        ) as server,
        Ledger(tmp_path / "ledger") as ledger,
    ):
        model = OpenAiChat(server.url, "m")
        one = AskingOptions(send=SendOptions(limits=LimitsOptions(concurrency=1)))
        calls = ask(store, classes, config, model, ledger, config=one).artifact
        model.close()
    wanted = r"usable replies for 3 of 4 classes, 75.0%, and 80.0% are wanted"
    with pytest.raises(ValueError, match=wanted):
        build(store, classes, calls, config, min_coverage=0.8)
    assert store.published("cooccurrence") == []
    manifest = build(store, classes, calls, config, min_coverage=0.75).artifact.manifest
    report = manifest.report
    assert (manifest.facts, report["coverage"]) == ({"answered": 3}, 0.75)
    assert report["unanswered_classes"] == ["b"]
    with pytest.raises(ValueError, match=wanted):
        build(store, classes, calls, config, min_coverage=0.8)


def test_no_valid_reply_is_an_error(store):
    classes = register_classes(
        store, "demo", pd.DataFrame({"class_id": [0, 1], "name": ["a", "b"], "group": "all"})
    ).artifact
    config = CooccurrenceConfig()
    calls = ask(store, classes, config, RecordedReplies(["a", "b"]), None).artifact
    with pytest.raises(ValueError, match=r"not one valid reply of 10, drops: \{'no_reply': 10\}"):
        build(store, classes, calls, config)
    assert store.published("cooccurrence") == []


def test_from_an_endpoint(store, tmp_path):
    """A vote per round against a real server whose replies hold inventions, cuts and refusals."""
    names = ["run", "walk", "sing", "dance"]
    classes = register_classes(
        store, "demo", pd.DataFrame({"class_id": range(4), "name": names, "group": "all"})
    ).artifact
    replies = {"run": ["sing", "moonwalk"], "walk": ["Sing"], "sing": ["walk", "sing"]}

    def answer(body):
        asked = re.search(r'with "(\w+)"', body["messages"][-1]["content"])[1]
        return json.dumps({"actions": replies.get(asked, ["moonwalk"])})

    def behave(number, body):
        return {5: "refusal", 9: "length", 13: "fenced"}.get(number)

    config = CooccurrenceConfig(rounds=5, num=2, keep=2, min_votes=4)
    with LlmServer(answer, behave) as server, Ledger(tmp_path / "ledger") as ledger:
        model = OpenAiChat(server.url, "m")
        one = AskingOptions(send=SendOptions(limits=LimitsOptions(concurrency=1)))
        calls = ask(store, classes, config, model, ledger, config=one).artifact
        model.close()
    artifact = build(store, classes, calls, config).artifact
    report = artifact.manifest.report
    assert report["drops"] == {"only_inventions": 5, "refusal": 1}
    assert report["asked_again"] == 1  # the one that was cut
    assert report["unanswered_classes"] == ["dance"]
    assert report["names_left_out"] == {"invented": 9, "self": 5}
    assert report["selected"] == {"llm": 3, "self": 4}
    pairs = {
        (row["class_id"], row["other_id"]): (row["votes"], row["rounds"], row["selected"])
        for row in artifact.read().to_pylist()
        if row["source"] == "llm"
    }
    assert pairs == {(0, 2): (4, 4, True), (1, 2): (5, 5, True), (2, 1): (5, 5, True)}
