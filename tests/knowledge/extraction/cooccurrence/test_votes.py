"""Votes: what counts as one, how rounds agree, and that stopping early selects the same."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.extraction.cooccurrence.matrix import select
from knowledge.extraction.cooccurrence.votes import CooccurrenceReply, agreement, count_votes
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig, base_classes
from knowledge.extraction.parse import ParsedReply
from knowledge.llm.messages import Dialect
from tests.class_rows import make_actions


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
    return select(tally, None, base_classes(actions, config), config).selected.tolist()


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
