"""The relation matrix is the definition and leaks no novel label."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from knowledge.extraction.cooccurrence.matrix import select
from knowledge.extraction.cooccurrence.votes import CooccurrenceReply, count_votes
from knowledge.extraction.kinds.cooccurrence import CooccurrenceConfig, base_classes
from knowledge.extraction.parse import ParsedReply
from knowledge.extraction.report.ground_truth import count_videos
from tests.class_rows import make_actions


def literal_matrix(actions, replies, videos, config):
    """The co-occurrence relation word by word: sets of ids, one decision at a time."""
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
    relation = select(count_votes(replies, actions, config.keep), counts, is_base, config)
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
        vars(select(tally, first, is_base, config)).values(),
        vars(select(tally, second, is_base, config)).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
