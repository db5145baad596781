"""Co-occurrence: the matrix is the definition, leaks no novel label, and AVA's makes sense."""

import json
import re

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from artifacts.class_matrix import to_matrix
from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Store
from knowledge.datasets.class_lists import base_flags, class_list
from knowledge.datasets.listing import register_classes
from knowledge.extraction import AskConfig, ParsedReply, ask
from knowledge.kinds.cooccurrence import (
    CONFIG,
    CooccurrenceConfig,
    CooccurrenceReply,
    agreement,
    base_classes,
    build,
    count_videos,
    count_votes,
    relate,
)
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.limits import LimitsConfig
from knowledge.llm.messages import Dialect
from knowledge.llm.recorded import RecordedReplies
from knowledge.llm.sender import SendConfig
from knowledge.question import ActionClass, read_classes
from tests.llm_server import LlmServer


def literal_matrix(actions, replies, videos, config):
    """METHODS 1.4 word by word: sets of ids, one decision at a time."""
    flag = {"base75": "is_base_75", "base50": "is_base_50"}.get(config.split)
    base = {a.class_id for a in actions if flag is None or getattr(a, flag)}
    novel = {a.class_id for a in actions} - base
    by_name = {a.prompt_name: a for a in actions}
    named_at = {}
    for item in replies:
        valid = []
        for name in item.reply.actions:
            other = by_name.get(name)
            if other is None or other.group != item.group:
                continue  # invention
            if other.class_id != item.class_id and other.class_id not in valid:
                valid.append(other.class_id)
        for position, other_id in enumerate(valid[: config.keep], start=1):
            named_at.setdefault((item.class_id, other_id), []).append(position)
    r = {}
    for action in actions:
        i = action.class_id
        if videos is not None and i in base:
            seen = [set(video) - novel for video in videos]  # novel label columns zeroed
            counts = {a.class_id: sum({i, a.class_id} <= s for s in seen) for a in actions}
            ranked = sorted((-count, j) for j, count in counts.items() if count > 0 and j != i)
            r[i] = [entry[-1] for entry in ranked][: config.top_k]
        else:
            ranked = sorted(
                (-len(places), sum(places) / len(places), j)
                for (asked, j), places in named_at.items()
                if asked == i and len(places) >= (config.min_votes or config.rounds // 2 + 1)
            )
            r[i] = [entry[-1] for entry in ranked][: config.top_k]
    pairs = {(i, j) for i in r for j in r[i]}
    mirror = config.mirror or ("none" if config.split == "none" else "novel")
    if mirror == "novel":
        pairs |= {(b, n) for n in novel for b in r[n] if b in base}
    if mirror == "full":
        pairs |= {(j, i) for i, j in pairs}
    if config.self_loop:
        pairs |= {(i, i) for i in r}
    return pairs


def make_actions(groups, ids=None):
    flags = zip(base_flags(groups, 0.75), base_flags(groups, 0.5), strict=True)
    return [
        ActionClass(class_id, f"action {class_id}", f"action {class_id}", group, *flag)
        for class_id, group, flag in zip(ids or range(len(groups)), groups, flags, strict=True)
    ]


@st.composite
def cases(draw):
    split = draw(st.sampled_from(["none", "base75", "base50"]))
    mirrors = [None, "none", "full"] + (["novel"] if split != "none" else [])
    rounds = draw(st.integers(1, 4))
    num = draw(st.integers(1, 5))
    config = CooccurrenceConfig(
        rounds=rounds,
        num=num,
        keep=draw(st.integers(1, num)),
        min_votes=draw(st.none() | st.integers(1, min(rounds, 2))),
        top_k=draw(st.integers(1, 4)),
        split=split,
        mirror=draw(st.sampled_from(mirrors)),
        self_loop=draw(st.booleans()),
    )
    groups = sorted(draw(st.lists(st.sampled_from("ab"), min_size=2, max_size=7)))
    size = len(groups)
    ids = draw(st.lists(st.integers(0, 50), min_size=size, max_size=size, unique=True))
    actions = make_actions(groups, sorted(ids))
    names = [action.name for action in actions] + ["invented"]
    answers = st.lists(st.sampled_from(names), max_size=6)
    replies = [
        ParsedReply(a.class_id, group, number, CooccurrenceReply(actions=draw(answers)))
        for number in range(1, rounds + 1)
        for a in actions
        for group in sorted(set(groups))
    ]
    videos = None
    if split != "none" and draw(st.booleans()):
        videos = draw(st.lists(st.lists(st.sampled_from(sorted(ids)), max_size=5), max_size=8))
    return actions, replies, videos, config


@settings(deadline=None, max_examples=120)
@given(cases())
def test_matrix_is_the_definition(case):
    actions, replies, videos, config = case
    ids = [action.class_id for action in actions]
    is_base = base_classes(actions, config)
    counts = None if videos is None else count_videos(videos, actions, is_base)
    relation = relate(count_votes(replies, actions, config.keep), counts, is_base, config)
    pairs = {(ids[i], ids[j]) for i, j in np.argwhere(relation.selected)}
    assert pairs == literal_matrix(actions, replies, videos, config)


@settings(deadline=None, max_examples=60)
@given(cases(), st.randoms())
def test_novel_labels_change_nothing(case, random):
    actions, replies, videos, config = case
    if videos is None:
        return
    is_base = base_classes(actions, config)
    novel = [a.class_id for a, base in zip(actions, is_base, strict=True) if not base]
    tally = count_votes(replies, actions, config.keep)
    relabelled = [
        [i for i in video if i not in novel] + random.sample(novel, random.randint(0, len(novel)))
        for video in videos
    ]
    first, second = (count_videos(each, actions, is_base) for each in (videos, relabelled))
    np.testing.assert_array_equal(first, second)
    assert first[~is_base].sum() == first[:, ~is_base].sum() == 0
    for one, other in zip(
        vars(relate(tally, first, is_base, config)).values(),
        vars(relate(tally, second, is_base, config)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)


def test_what_counts_as_a_vote():
    actions = make_actions(["a"] * 4 + ["b"])
    names = ["invented", "action 0", "Action_1", "action 1", "action 4", "action 2", "action 3"]
    replies = [
        ParsedReply(0, "a", 1, CooccurrenceReply(actions=names)),
        ParsedReply(0, "a", 2, CooccurrenceReply(actions=["action 2"])),
        ParsedReply(0, "a", 3, CooccurrenceReply(actions=["nonsense"])),
        ParsedReply(0, "a", 4, CooccurrenceReply(actions=[])),
        ParsedReply(0, "b", 1, CooccurrenceReply(actions=["action 4"])),
    ]
    tally = count_votes(replies, actions, keep=2)
    assert tally.votes[0].tolist() == [0, 1, 2, 0, 1]
    assert tally.rounds[0].tolist() == [0, 3, 3, 3, 1]
    assert tally.mean_position[0].tolist() == [np.inf, 1, 1.5, np.inf, 1]
    assert tally.drops == {"only_inventions": 1}
    assert tally.names == {"invented": 3, "duplicate": 1, "self": 1, "beyond_keep": 1}
    assert tally.unanimous == 0
    assert tally.answered.tolist() == [True] + [False] * 4


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


@st.composite
def stopped(draw):
    """A question that stops early, classes, and a reply (None: no valid one) to each request.

    The rounds mostly agree, so that many stop.
    """
    rounds, num = draw(st.integers(2, 5)), draw(st.integers(1, 4))
    config = CooccurrenceConfig(
        rounds=rounds,
        num=num,
        keep=draw(st.integers(1, num)),
        min_votes=draw(st.none() | st.integers(1, rounds)),
        top_k=draw(st.integers(1, 5)),
        early_stop=True,
    )
    actions = make_actions(sorted(draw(st.lists(st.sampled_from("abc"), min_size=2, max_size=7))))
    requests = config.question.requests(actions)
    random = draw(st.randoms(use_true_random=True))
    noise = random.choice([0.1, 0.3, 0.6])

    def names(request):
        longest = min(4, len(request.candidates))
        return random.sample([*request.candidates, "invented"], random.randint(0, longest))

    usual = {(each.class_id, each.group): names(each) for each in requests}
    answers = []
    for each in requests:
        answer = list(usual[each.class_id, each.group])
        if random.random() < noise:
            answer = random.choice([None, names(each), answer + names(each), answer[1:]])
        answers.append(answer)
    return actions, config, requests, answers


def replies_of(requests, answers, question=None):
    """The valid replies to all requests, or to those that a question finds open."""
    replies, earlier, waves = [], {}, [requests] if question is None else question.waves(requests)
    answer_of = {id(each): answer for each, answer in zip(requests, answers, strict=True)}
    num_asked = 0
    for wave in waves:
        heads = [
            each
            for each in wave
            if question is None
            or question.still_open(each, earlier.get((each.class_id, each.group), []))
        ]
        num_asked += len(heads)
        for each in heads:
            if (answer := answer_of[id(each)]) is not None:
                reply = CooccurrenceReply(actions=answer)
                earlier.setdefault((each.class_id, each.group), []).append(reply)
                replies.append(ParsedReply(each.class_id, each.group, each.round, reply))
    return replies, num_asked


def selected(replies, actions, config):
    tally = count_votes(replies, actions, config.keep)
    return relate(tally, None, base_classes(actions, config), config).selected.tolist()


@settings(deadline=None, max_examples=400)
@given(stopped())
def test_early_stop_selects_the_same(case):
    actions, config, requests, answers = case
    every, _ = replies_of(requests, answers)
    some, num_asked = replies_of(requests, answers, config.question)
    assert selected(some, actions, config) == selected(every, actions, config)
    assert num_asked <= len(requests)


def test_early_stop_saves_what_cannot_matter():
    """Three of five agree after three rounds, unless the other group may fill the top k."""
    actions = make_actions(["a"] * 3 + ["b"] * 2)

    def asked(**changes):
        config = CooccurrenceConfig(num=2, keep=2, early_stop=True, **changes)
        requests = config.question.requests(actions)
        answers = [["action 1"] for _ in requests]
        return replies_of(requests, answers, config.question)[1], len(requests)

    assert asked(top_k=3) == (3 * 10, 50)
    # With one place, whoever has a partner in group a has to wait for the votes in group b, where
    # there are none; class 1 has none in group a either.
    assert asked(top_k=1) == (5 * 4 + 3 * 1 + 3 * 5, 50)


def test_early_stop_decides_what_is_asked():
    every, early = CooccurrenceConfig(top_k=7), CooccurrenceConfig(top_k=7, early_stop=True)
    assert set(every.question.model_dump()) == {"sampling", "rounds", "num", "seed"}
    assert early.question.model_dump(include={"keep", "min_votes", "top_k", "early_stop"}) == {
        "keep": 5,
        "min_votes": 3,
        "top_k": 7,
        "early_stop": True,
    }
    assert early.question.question == early.question
    actions = make_actions(["a"] * 3)
    bodies = [
        [each.body("m", Dialect()) for each in config.question.requests(actions)]
        for config in (every, early)
    ]
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize(("top_k", "saved"), [(10, 0), (24, 202)])
def test_early_stop_on_ava(store, top_k, saved):
    matrices = []
    for early_stop in (False, True):
        config = CooccurrenceConfig(top_k=top_k, early_stop=early_stop)
        classes, calls = extracted(store, "ava", config)
        ids = [each.class_id for each in read_classes(classes)]
        artifact = build(store, classes, calls, config).artifact
        matrices.append(to_matrix(artifact.read(), "selected", ids).values)
    np.testing.assert_array_equal(*matrices)
    assert calls.manifest.report["not_needed"] == saved
    assert calls.manifest.num_rows == 1200 - saved


def test_uniform_interface():
    assert CONFIG is CooccurrenceConfig
    assert not CONFIG().needs_videos
    assert CONFIG(split="base75").needs_videos
    assert [CONFIG(rounds=n).resolved_min_votes for n in (1, 2, 3, 4, 5)] == [1, 2, 2, 3, 3]


def test_agreement_of_rounds():
    actions = make_actions(["a"] * 3)
    lists = [["action 1"], ["action 1", "action 2"]]
    replies = [
        ParsedReply(i, "a", n, CooccurrenceReply(actions=lists[n - 1] if i == 0 else ["action 0"]))
        for n in (1, 2)
        for i in range(3)
    ]
    found = agreement(count_votes(replies, actions, 5), actions)
    # Units 01: 11, 02: 01, 10: 11, 12: 00, 20: 11, 21: 00; o_01 = 1, n_0 = 5, n_1 = 7, n = 12.
    assert found["alpha"] == pytest.approx(1 - 11 * 1 / 35)
    assert (found["unanimous"], found["margin"]) == (3 / 4, 3 / 4)
    assert found["asymmetry"] == {
        "pairs": 3,
        "share": pytest.approx(1 / 3),
        "noise": pytest.approx((1 - (1 / 3) ** 0.5) / 2),
    }


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


def publish_videos(store, classes, labels, split="train"):
    rows = [
        {
            "video_id": f"v{number}",
            "path": f"v{number}.mp4",
            "split": split if isinstance(split, str) else split[number],
            "class_ids": ids,
            "status": "missing",
        }
        for number, ids in enumerate(labels)
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("videos").arrow())
    config = {"labels": labels, "split": split}
    inputs = dict(inputs_of(classes=classes))
    return store.publish(
        Provenance(kind="videos", name="demo", config=config, inputs=inputs), table
    )


def extracted(store, name, config):
    classes = register_classes(store, name, class_list(name)).artifact
    model = RecordedReplies(class_list(name)["name"])
    return classes, ask(store, classes, config, model, None).artifact


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
    names = {each.class_id: each.name for each in read_classes(classes)}
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
    actions = read_classes(classes)
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
        one = AskConfig(send=SendConfig(limits=LimitsConfig(concurrency=1)))
        calls = ask(store, classes, config, model, ledger, config=one).artifact
        model.close()
    wanted = r"usable replies for 3 of 4 classes, 75.0%, and 80.0% are wanted"
    with pytest.raises(ValueError, match=wanted):
        build(store, classes, calls, config, min_coverage=0.8)
    assert store.published("cooccurrence") == []
    report = build(store, classes, calls, config, min_coverage=0.75).artifact.manifest.report
    assert (report["answered"], report["coverage"]) == (3, 0.75)
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
        one = AskConfig(send=SendConfig(limits=LimitsConfig(concurrency=1)))
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
