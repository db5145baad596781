"""Replies of an extraction: read, asked for again, or dropped and counted by reason."""

import re
from collections import Counter

import pytest

from artifacts.provenance import canonical_json
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.cooccurrence import (
    CooccurrenceQuestion,
    CooccurrenceReply,
    count_votes,
)
from knowledge.extraction.kinds.description import DescriptionConfig, DescriptionReply
from knowledge.extraction.parse import parse
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.replies import Vocabulary
from knowledge.llm.messages import LlmError, Sampling
from tests.knowledge.asking import described, fast, publish_classes


@pytest.mark.parametrize("behaviour", ["null_content", "no_choices", "broken_json", "html"])
def test_an_answer_that_stays_unreadable_is_a_drop(
    store, classes, ledger, server, model, behaviour
):
    server.behave = lambda number, body: behaviour if described(body) == "jump" else None
    with pytest.raises(LlmError, match="7 of 8 requests are answered and kept"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2))
    assert server.num_requests == 8
    calls = ask(store, classes, DescriptionConfig(), model, ledger, config=fast(2)).artifact
    assert server.num_requests == 9
    assert parse(calls, DescriptionConfig(), DescriptionReply).drops == {"no_reply": 1}
    assert calls.manifest.report["statuses"] == {"error": 1, "no_reply": 1, "ok": 7}
    key = next(row["request_key"] for row in calls.read().to_pylist() if row["status"] != "ok")
    kept = [attempt.reply for attempt in ledger.attempts(key)]
    assert kept[0] == kept[1]
    assert kept[0].startswith("<html>" if behaviour == "html" else "{")


def test_what_a_filter_refuses_is_a_drop(store, classes, ledger, server, model):
    server.behave = lambda number, body: "filtered" if described(body) == "run" else None
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    assert parse(calls, DescriptionConfig(), DescriptionReply).drops == {"refusal": 1}
    assert server.num_requests == 8
    assert calls.manifest.report["possibly_billed"] == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"description": "legs"}', None),
        ('```json\n{"description": "legs"}\n```', None),
        ('Sure:\n```\n{"description": "legs"}\n```\nBye', None),
        ('  {"description": "legs", "why": "because"}\n', None),
        ("", "empty"),
        (" \n", "empty"),
        ("legs", "not_json"),
        ('{"description": "le', "not_json"),
        ('```json\n{"description": "legs"}', None),
        ('<think>Is {"a": 1} it?</think>\nIt is {"description": "legs"}.', None),
        ('{"description": "legs"} or {"description": "arms"}', "not_json"),
        ('{"description": "legs", "description": "arms"}', "not_json"),
        ('{"description": NaN}', "not_json"),
        ("[" * 100_000, "not_json"),
        ('{"text": "legs"}', "wrong_form"),
        ('{"description": null}', "wrong_form"),
        ('["legs"]', "wrong_form"),
    ],
)
def test_replies_are_read_or_dropped_with_a_reason(store, ledger, server, model, text, reason):
    classes = publish_classes(store, ["run"])
    server.answer = lambda body: text
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert parsed.drops == ({reason: 1} if reason else {})
    assert [item.reply.description for item in parsed.replies] == ([] if reason else ["legs"])
    assert parsed.num_reasks == (2 if reason else 0)
    assert server.num_requests == (3 if reason else 1)


@pytest.mark.parametrize(
    ("behaviour", "reason", "asked"),
    [
        ("length", "truncated", 3),
        ("empty_length", "truncated", 3),
        ("refusal", "refusal", 1),
        ("content_filter", "refusal", 1),
        ("prose", "not_json", 3),
        ("nan", "not_json", 3),
        ("wrong_form", "wrong_form", 3),
        ("inner_surrogate", "not_json", 3),
        ("surrogate", "not_json", 3),
        ("fenced", None, 1),
        ("fenced_crlf", None, 1),
    ],
)
def test_outcomes_are_drops(store, ledger, server, model, behaviour, reason, asked):
    classes = publish_classes(store, ["run"])
    # Its first half is valid JSON: cut replies are dropped even where they could be read.
    whole = '{"description": "x"}'
    server.answer = lambda body: whole + " " * len(whole)
    server.behave = lambda number, body: behaviour
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert parsed.drops == ({reason: 1} if reason else {})
    assert parsed.num_requests == 1
    assert server.num_requests == calls.manifest.num_rows == asked
    assert calls.manifest.report["asked_again"] == asked - 1


def test_what_was_wrong_is_told_at_most_twice(store, ledger, server, model):
    replies = iter(["legs", '{"description": 7}', '{"text": "legs"}'])
    server.answer = lambda body: next(replies)
    calls = ask(store, publish_classes(store, ["run"]), DescriptionConfig(), model, ledger).artifact
    first, second, third = (body["messages"] for _, _, body in server.requests)
    assert second[:2] == third[:2] == first
    assert second[2:] == third[2:4]
    told = [(message["role"], message["content"]) for message in third[2:]]
    assert told[0] == ("assistant", "legs")
    assert re.fullmatch(r"That answer .*: the answer is not JSON: .* Answer again, .*", told[1][1])
    assert told[2] == ("assistant", '{"description": 7}')
    assert ": description must be a string. " in told[3][1]
    assert [row["reask"] for row in calls.read().to_pylist()] == [0, 1, 2]
    # The last one counts, and the rows are found again without a call.
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert (parsed.drops, parsed.num_reasks) == ({"wrong_form": 1}, 2)


def test_a_question_put_again_may_succeed(store, ledger, server, model):
    server.behave = lambda number, body: "prose" if number == 1 else None
    calls = ask(store, publish_classes(store, ["run"]), DescriptionConfig(), model, ledger).artifact
    parsed = parse(calls, DescriptionConfig(), DescriptionReply)
    assert [item.reply.description for item in parsed.replies] == ["A person doing run."]
    assert (parsed.drops, parsed.num_reasks, parsed.num_requests) == ({}, 1, 1)


def test_what_was_cut_off_gets_twice_the_room_never_the_same(store, ledger, server, model):
    server.behave = lambda number, body: "length"
    config = DescriptionConfig(sampling=Sampling(max_completion_tokens=40))
    ask(store, publish_classes(store, ["run"]), config, model, ledger)
    assert [body["max_completion_tokens"] for _, _, body in server.requests] == [40, 80, 160]
    assert len({canonical_json(body["messages"]) for _, _, body in server.requests}) == 1


def test_without_a_limit_what_was_cut_off_is_not_asked_again(store, ledger, server, model):
    server.behave = lambda number, body: "length"
    ask(store, publish_classes(store, ["run"]), DescriptionConfig(sampling={}), model, ledger)
    assert server.num_requests == 1


def test_asking_again_goes_on_after_a_failure(store, classes, ledger, server, model):
    asked = Counter()

    def behave(number, body):
        again = len(body["messages"]) > 2
        asked[again] += 1
        return ("401" if asked[True] > 2 else None) if again else "prose"

    server.behave = behave
    with pytest.raises(LlmError, match="10 of 16 requests are answered"):
        ask(store, classes, DescriptionConfig(), model, ledger, config=fast(1))
    server.behave = lambda number, body: None
    before = server.num_requests
    calls = ask(store, classes, DescriptionConfig(), model, ledger).artifact
    assert server.num_requests - before == 6
    assert [row["reask"] for row in calls.read().to_pylist()] == [0, 1] * 8


@pytest.mark.parametrize(
    ("behaviour", "votes", "drops"),
    [
        (None, 2, {}),
        ("respelled", 2, {}),
        ("invented", 2, {}),
        ("duplicate_keys", 0, {"not_json": 12}),
        ("inner_surrogate", 0, {"not_json": 12}),
    ],
)
def test_names_of_replies(store, ledger, server, model, behaviour, votes, drops):
    classes = publish_classes(store, ["run fast", "walk", "jump", "sit"])
    server.answer = lambda body: '{"actions": ["run fast", "walk", "jump"]}'
    server.behave = lambda number, body: behaviour
    question = CooccurrenceQuestion(rounds=3)
    calls = ask(store, classes, question, model, ledger).artifact
    parsed = parse(calls, question, CooccurrenceReply)
    assert parsed.drops == drops
    if not drops:
        assert parsed.repeated == 1.0  # all rounds say the same
        tally = count_votes(parsed.replies, read_action_classes(classes), 5)
        assert (tally.votes[3] == [3, 3, 3, 0]).all()
        assert tally.names["invented"] == (12 if behaviour == "invented" else 0)


def test_replies_that_only_invent_are_asked_again_or_counted(store, ledger, server, model):
    classes = publish_classes(store, ["run", "walk"])
    server.answer = lambda body: '{"actions": []}'
    server.behave = lambda number, body: "only_inventions"
    question = CooccurrenceQuestion(rounds=1)
    calls = ask(store, classes, question, model, ledger).artifact
    parsed = parse(calls, question, CooccurrenceReply)
    tally = count_votes(parsed.replies, read_action_classes(classes), 5)
    assert not tally.votes.any()
    assert (parsed.drops + tally.drops).total() == 2


def test_names_match_by_spelling_only():
    vocabulary = Vocabulary({1: ["BrushHair"], 2: ["push (a person)"], 3: ["C"], 4: ["C++"]})
    names = ["brush hair", "push", "PUSH A PERSON!", "brush_hair", "comb hair", "c", "C++"]
    assert vocabulary.match(names) == ([1, 2, 4], {"invented": 3, "duplicate": 1})
