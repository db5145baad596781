"""Co-occurrence: which classes may happen at the same time (the `cooc` model's relation matrix).

The LLM is asked, per class, group of candidates and round, for `num` actions of the group; the
first `keep` of a reply are its votes. Base rows come from the training labels where they are given,
the others from the votes. Training labels of novel classes are zeroed before anything is counted,
so nothing about novel classes leaks.

Rounds of an LLM are not independent: the agreement in the report bounds the noise from below.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Artifact, Outcome, Store
from knowledge.agreement import alpha_of_counts, asymmetry, mean_margin
from knowledge.extraction import ParsedReply, check_calls, check_coverage, parse
from knowledge.llm.messages import ChatRequest, Message
from knowledge.question import ActionClass, Question, read_classes
from knowledge.reading import Vocabulary

KIND = "cooccurrence"
INSTRUCTION = (
    'Answer with one JSON object {"actions": [...]}: only names of the list, spelled as in it, '
    "most likely first, never the action asked about, fewer where fewer are plausible."
)
PROMPT = "Please select {num} actions that may occur simultaneously with {label} in [{candidates}]."

MAX_REPEATED = 0.5
"""Rounds that repeat an earlier reply more often than this are hardly independent: a warning."""

Flags = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class CooccurrenceReply(BaseModel):
    """What the LLM is asked to answer."""

    model_config = ConfigDict(json_schema_extra={"additionalProperties": False})

    actions: list[str]


class CooccurrenceQuestion(Question):
    """What is asked: one request per class, group of candidates and round."""

    kind: ClassVar[str] = KIND
    reply_type: ClassVar[type[BaseModel]] = CooccurrenceReply

    rounds: int = Field(5, ge=1)
    """Independent repetitions, each with the list in another order."""
    num: int = Field(10, ge=1)
    """Actions asked for per request, at most as many as the group has others."""
    seed: int = 0
    """Decides the orders of the lists."""

    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """Requests by round, class and group; a group without other classes is not asked about."""
        groups: dict[str, list[ActionClass]] = {}
        for each in classes:
            groups.setdefault(each.group, []).append(each)
        return [
            self._request(each, group, members, number)
            for number in range(1, self.rounds + 1)
            for each in classes
            for group, members in groups.items()
            if any(member is not each for member in members)
        ]

    def _request(
        self, asked: ActionClass, group: str, members: Sequence[ActionClass], number: int
    ) -> ChatRequest:
        def place(member: ActionClass) -> str:
            identity = f"{self.seed}/{number}/{asked.class_id}/{member.class_id}"
            return hashlib.sha256(identity.encode()).hexdigest()

        candidates = [member.prompt_name for member in sorted(members, key=place)]
        quoted = ", ".join(json.dumps(name, ensure_ascii=False) for name in candidates)
        num = min(self.num, sum(member is not asked for member in members))
        prompt = PROMPT.format(num=num, label=json.dumps(asked.prompt_name), candidates=quoted)
        return ChatRequest(
            question=KIND,
            class_id=asked.class_id,
            class_name=asked.name,
            group=group,
            candidates=tuple(candidates),
            round=number,
            messages=(
                Message(role="system", content=INSTRUCTION),
                Message(role="user", content=prompt),
            ),
            reply_schema=CooccurrenceReply.model_json_schema(),
            sampling=self.sampling,
        )


class PairRequest(ChatRequest):
    """A request that knows what its replies are decided by."""

    model_config = ConfigDict(arbitrary_types_allowed=True)

    vocabulary: Vocabulary
    """Names of the group."""
    elsewhere: int
    """The most partners that the votes on the other groups can give the class."""


class VoteQuestion(CooccurrenceQuestion):
    """What is asked, and what makes a partner; with `early_stop` the second decides the first."""

    keep: int = Field(5, ge=1)
    """Names of a reply that count as votes: its first valid ones. The method asks for five per
    group; asking for ten and keeping five gives the same votes and room to choose later."""
    min_votes: int | None = Field(None, ge=1)
    """Rounds that have to name a pair for it to be selected from votes; the majority when None."""
    top_k: int = Field(10, ge=1)
    """Partners selected per class, before mirroring."""
    early_stop: bool = False
    """Ask no further round about a class and group once none can change what is selected: every
    pair has its `min_votes` or cannot reach them, and all that reached them are sure of a place
    among the `top_k` (or there are none). Saves nothing where `top_k` is small, see `elsewhere`."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> Self:
        if self.keep > self.num:
            raise ValueError(f"keep={self.keep} is more than the num={self.num} asked for")
        if self.resolved_min_votes > self.rounds:
            raise ValueError(
                f"min_votes={self.min_votes} cannot be reached in {self.rounds} rounds"
            )
        return self

    @property
    def resolved_min_votes(self) -> int:
        """`min_votes` with None replaced by the majority."""
        return self.rounds // 2 + 1 if self.min_votes is None else self.min_votes

    @property
    def question(self) -> CooccurrenceQuestion:
        """The part that decides the requests."""
        kind = VoteQuestion if self.early_stop else CooccurrenceQuestion
        settings = self.model_dump(include=set(kind.model_fields))
        if self.early_stop:
            settings["min_votes"] = self.resolved_min_votes
        return kind(**settings)

    def requests(self, classes: Sequence[ActionClass]) -> list[ChatRequest]:
        """As without votes, and with `early_stop` what `still_open` has to know."""
        requests = super().requests(classes)
        if not self.early_stop:
            return requests
        vocabularies = _vocabularies(classes)
        own = {each.class_id: each.group for each in classes}
        sizes = Counter(own.values())
        longest = self.rounds * self.keep // self.resolved_min_votes

        def elsewhere(request: ChatRequest) -> int:
            return sum(
                min(longest, size - (group == own[request.class_id]))
                for group, size in sizes.items()
                if group != request.group
            )

        return [
            PairRequest(
                **dict(request),
                vocabulary=vocabularies[request.group],
                elsewhere=elsewhere(request),
            )
            for request in requests
        ]

    def waves(self, requests: Sequence[ChatRequest]) -> list[Sequence[ChatRequest]]:
        """With `early_stop` a wave per round."""
        if not self.early_stop:
            return super().waves(requests)
        return [list(wave) for _, wave in groupby(requests, key=lambda each: each.round)]

    def still_open(self, request: ChatRequest, earlier: Sequence[CooccurrenceReply]) -> bool:
        """Whether this round or a later one can change what is selected."""
        if not isinstance(request, PairRequest):
            return True
        votes: Counter[int] = Counter()
        for reply in earlier:
            votes.update(_partners(reply, request.vocabulary, request.class_id)[0][: self.keep])
        left = self.rounds - request.round + 1
        reached = sum(each >= self.resolved_min_votes for each in votes.values())
        can_reach = left >= self.resolved_min_votes or any(
            self.resolved_min_votes - left <= each < self.resolved_min_votes
            for each in votes.values()
        )
        return can_reach or bool(reached and reached + request.elsewhere > self.top_k)


class CooccurrenceConfig(VoteQuestion):
    """What is asked, and how votes and counts become the matrix."""

    split: Literal["none", "base75", "base50"] = "none"
    """Which classes are base; with `none` every row comes from votes."""
    mirror: Literal["none", "novel", "full"] | None = None
    """Pairs selected in reverse: `novel` lets base classes see the novel classes that selected them
    (LLM knowledge only), `full` makes the matrix symmetric. None means novel with a split, none
    without."""
    self_loop: bool = True
    """Whether each class is selected with itself."""

    @model_validator(mode="after")
    def _has_effect(self) -> Self:
        if self.mirror == "novel" and self.split == "none":
            raise ValueError("mirror='novel' has no effect with split='none'; leave it out")
        return self

    @property
    def resolved_mirror(self) -> Literal["none", "novel", "full"]:
        """`mirror` with None replaced by what it means."""
        return self.mirror or ("none" if self.split == "none" else "novel")

    @property
    def needs_videos(self) -> bool:
        """Whether `build` counts the training labels of the dataset's videos."""
        return self.split != "none"


CONFIG = CooccurrenceConfig
"""Settings of this kind."""


@dataclass(frozen=True)
class Tally:
    """Votes over all classes, both axes in id order."""

    votes: Counts
    """(K, K) rounds that named the pair."""
    rounds: Counts
    """(K, K) rounds that gave a valid reply."""
    places: Counts
    """(K, K) sum of the places at which the pair was named, 1 = first."""
    drops: Counter[str]
    """Replies that name nothing valid, by reason."""
    names: Counter[str]
    """Names left out, by reason."""

    @property
    def mean_position(self) -> npt.NDArray[np.float64]:
        """(K, K) mean place; infinite where nobody named the pair."""
        place = np.full(self.votes.shape, np.inf)
        np.divide(self.places, self.votes, out=place, where=self.votes > 0)
        return place

    @property
    def unanimous(self) -> float | None:
        """Share of the named pairs that every round named; None without two rounds to compare."""
        named = (self.votes > 0) & (self.rounds > 1)
        return float((self.votes == self.rounds)[named].mean()) if named.any() else None

    @property
    def answered(self) -> Flags:
        """(K,) classes with a valid reply for every group they were asked about."""
        heard: Flags = (self.rounds > 0) | np.eye(len(self.rounds), dtype=bool)
        return np.asarray(heard.all(axis=1))


@dataclass(frozen=True)
class Relation:
    """The matrix and what each cell rests on, both (K, K) in id order."""

    selected: Flags
    source: npt.NDArray[np.str_]


def build(
    store: Store,
    classes: Artifact,
    calls: Artifact,
    config: CooccurrenceConfig,
    *,
    min_coverage: float = 0.0,
    videos: Artifact | None = None,
) -> Outcome:
    """Publish `cooccurrence`: every pair that is named, counted or selected.

    Args:
        store: where to look and publish.
        classes: the class list.
        calls: the replies to `config.question` about it.
        config: how they become the matrix.
        min_coverage: share of the classes, 0 to 1, that need a valid reply for every group.
        videos: training labels for the base rows; all its training videos count, decodable or not.

    Raises:
        ValueError: inputs that do not belong together, videos without a split, no valid reply, or
            too few classes answered.
    """
    check_calls(calls, classes, config)
    if videos is not None and config.split == "none":
        raise ValueError(
            f"{videos.ref} has no effect with split='none'; choose a split or leave it out"
        )
    resolved = {"mirror": config.resolved_mirror, "min_votes": config.resolved_min_votes}
    provenance = Provenance(
        kind=KIND,
        name=classes.ref.name,
        config=config.model_copy(update=resolved).model_dump(mode="json"),
        inputs=dict(inputs_of(classes=classes, calls=calls, videos=videos)),
    )
    if found := store.find(provenance):
        num_classes = classes.manifest.num_rows
        check_coverage(calls, found.manifest.report["answered"], num_classes, min_coverage)
        return Outcome(found, made=False)
    actions = read_classes(classes)
    parsed = parse(calls, config, CooccurrenceReply)
    tally = count_votes(parsed.replies, actions, config.keep)
    if not tally.rounds.any():
        raise ValueError(
            f"{calls.ref}: not one valid reply of {parsed.num_requests}, drops: "
            f"{dict(parsed.drops + tally.drops)}"
        )
    check_coverage(calls, int(tally.answered.sum()), len(actions), min_coverage)
    is_base = base_classes(actions, config)
    counts = None
    if videos is not None:
        counts = count_videos(_training_labels(videos, classes), actions, is_base)
    relation = relate(tally, counts, is_base, config)
    rows = _rows(actions, tally, counts, relation)
    from_counts = 0 if counts is None else int(is_base.sum())
    report = _report(actions, tally, relation, parsed.repeated) | {
        "rows_from": {"train": from_counts, "llm": len(actions) - from_counts},
        "rows": len(rows),
        "requests": parsed.num_requests,
        "replies": len(parsed.replies) - tally.drops.total(),
        "asked_again": parsed.num_reasks,
        "drops": dict(sorted((parsed.drops + tally.drops).items())),
    }
    table = pa.Table.from_pylist(rows, schema=schema_of(KIND).arrow())
    return Outcome(store.publish(provenance, table, report), made=True)


def count_votes(
    replies: Iterable[ParsedReply[CooccurrenceReply]], actions: Sequence[ActionClass], keep: int
) -> Tally:
    """Votes of the replies.

    Only names of the group asked about count, each once, never the class itself; what is left is
    cut to the first `keep`. A reply that names only inventions is no valid reply.
    """
    place_of = {each.class_id: place for place, each in enumerate(actions)}
    vocabularies = _vocabularies(actions)
    members: dict[str, list[int]] = defaultdict(list)
    for place, each in enumerate(actions):
        members[each.group].append(place)
    shape = (len(actions), len(actions))
    votes, rounds, places = (np.zeros(shape, np.int64) for _ in range(3))
    drops: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    for item in replies:
        row = place_of[item.class_id]
        found, reasons = _partners(item.reply, vocabularies[item.group], item.class_id)
        left_out += reasons
        if reasons["invented"] and not found and not reasons["self"]:
            drops["only_inventions"] += 1
            continue
        others = [place_of[class_id] for class_id in found]
        left_out["beyond_keep"] += max(0, len(others) - keep)
        rounds[row, members[item.group]] += 1
        for position, column in enumerate(others[:keep], start=1):
            votes[row, column] += 1
            places[row, column] += position
    np.fill_diagonal(rounds, 0)
    return Tally(votes, rounds, places, drops, +left_out)


def base_classes(actions: Sequence[ActionClass], config: CooccurrenceConfig) -> Flags:
    """(K,) which classes are base; all of them without a split."""
    flags = {
        "none": [True for _ in actions],
        "base75": [each.is_base_75 for each in actions],
        "base50": [each.is_base_50 for each in actions],
    }
    return np.array(flags[config.split], bool)


def count_videos(
    labels: Iterable[Iterable[int]], actions: Sequence[ActionClass], is_base: Flags
) -> Counts:
    """(K, K) videos that hold both classes; novel label columns are zeroed before counting.

    Args:
        labels: class ids of each training video.
        actions: classes in id order.
        is_base: (K,) which of them are base.

    Raises:
        ValueError: a video has a class that the list lacks.
    """
    place_of = {each.class_id: place for place, each in enumerate(actions)}
    visible = [list({*ids}) for ids in labels]
    unknown = sorted({class_id for ids in visible for class_id in ids} - place_of.keys())
    if unknown:
        raise ValueError(f"videos have class_ids {unknown[:5]} that the class list does not have")
    counts = np.zeros((len(actions), len(actions)), np.int64)
    for ids in visible:
        places = [place for place in map(place_of.__getitem__, ids) if is_base[place]]
        counts[np.ix_(places, places)] += 1
    return counts


def relate(
    tally: Tally, counts: Counts | None, is_base: Flags, config: CooccurrenceConfig
) -> Relation:
    """Select the partners of each class.

    Rows from votes: the `top_k` pairs with most votes, at least `min_votes`, ties by mean place,
    then id. Rows from counts (base rows, where counts are given): the `top_k` with the highest
    count above 0, ties by id. Then mirrored, and the diagonal set. C[b, n] = 1 for base b and novel
    n if n selected b.
    """
    size = len(is_base)
    ids = np.arange(size)
    from_counts = is_base & (counts is not None)
    selected = np.zeros((size, size), bool)
    mean_position = tally.mean_position
    for row in range(size):
        if from_counts[row]:
            assert counts is not None
            order = np.lexsort((ids, -counts[row]))
            allowed = counts[row] > 0
        else:
            order = np.lexsort((ids, mean_position[row], -tally.votes[row]))
            allowed = tally.votes[row] >= config.resolved_min_votes
        allowed[row] = False
        selected[row, order[allowed[order]][: config.top_k]] = True
    source = np.full((size, size), "llm", dtype="<U6")
    if counts is not None:
        source[from_counts[:, None] & (counts > 0)] = "train"
    mirrored = selected.T & ~selected
    if config.resolved_mirror == "none":
        mirrored[:] = False
    elif config.resolved_mirror == "novel":
        mirrored &= is_base[:, None] & ~is_base[None, :]
    source[mirrored] = "mirror"
    selected |= mirrored
    np.fill_diagonal(source, "self")
    np.fill_diagonal(selected, config.self_loop)
    return Relation(selected, source)


def _vocabularies(actions: Iterable[ActionClass]) -> dict[str, Vocabulary]:
    """Names of each group's classes."""
    spellings: dict[str, dict[int, tuple[str, str]]] = defaultdict(dict)
    for each in actions:
        spellings[each.group][each.class_id] = (each.prompt_name, each.name)
    return {group: Vocabulary(names) for group, names in spellings.items()}


def _partners(
    reply: CooccurrenceReply, vocabulary: Vocabulary, class_id: int
) -> tuple[list[int], Counter[str]]:
    """Ids of the other classes a reply names, in its order, and names left out by reason."""
    found, left_out = vocabulary.match(reply.actions)
    others = [each for each in found if each != class_id]
    left_out["self"] += len(found) - len(others)
    return others, left_out


def _training_labels(videos: Artifact, classes: Artifact) -> list[list[int]]:
    made_with = videos.manifest.inputs.get("classes")
    if made_with is None or made_with.content_hash != classes.manifest.content_hash:
        raise ValueError(
            f"{videos.ref} was registered with another class list than {classes.ref}; "
            "register the dataset again"
        )
    rows = videos.read(["split", "class_ids"]).to_pylist()
    return [row["class_ids"] for row in rows if row["split"] == "train"]


def _rows(
    actions: Sequence[ActionClass], tally: Tally, counts: Counts | None, relation: Relation
) -> list[dict[str, Any]]:
    count = counts if counts is not None else np.zeros_like(tally.votes)
    place = tally.mean_position
    stored = (
        relation.selected | (tally.votes > 0) | ((count > 0) & ~np.eye(len(actions), dtype=bool))
    )
    return [
        {
            "class_id": actions[i].class_id,
            "other_id": actions[j].class_id,
            "source": str(relation.source[i, j]),
            "votes": int(tally.votes[i, j]),
            "rounds": int(tally.rounds[i, j]),
            "mean_position": float(place[i, j]) if tally.votes[i, j] else None,
            "count": int(count[i, j]),
            "selected": bool(relation.selected[i, j]),
        }
        for i, j in np.argwhere(stored)
    ]


def _report(
    actions: Sequence[ActionClass], tally: Tally, relation: Relation, repeated: float | None
) -> dict[str, Any]:
    def names(flags: Flags) -> list[str]:
        return [actions[int(place)].name for place in np.flatnonzero(flags)]

    partners = relation.selected & ~np.eye(len(actions), dtype=bool)
    source, count = np.unique(relation.source[relation.selected], return_counts=True)
    return {
        "answered": int(tally.answered.sum()),
        "coverage": float(tally.answered.mean()),
        "unanswered_classes": names(~tally.answered),
        "classes_without_partner": names(np.asarray(~partners.any(axis=1))),
        "selected": dict(zip(source.tolist(), count.tolist(), strict=True)),
        "names_left_out": dict(sorted(tally.names.items())),
        "inventions": tally.names["invented"],
        "repeated_rounds": repeated,
        "agreement": agreement(tally, actions),
        "warnings": {"repeated_rounds": repeated} if (repeated or 0) > MAX_REPEATED else {},
    }


def agreement(tally: Tally, actions: Sequence[ActionClass]) -> dict[str, Any]:
    """How far the rounds agree; what cannot be told is None.

    Returns:
        `alpha`, Krippendorff's alpha over all ordered pairs asked about, each round a coder;
        `unanimous`, share of the named pairs that every round named; `margin`, see
        `knowledge.agreement.mean_margin`; `asymmetry` over the unordered pairs of classes of one
        group (they are asked about among equally many candidates): number of `pairs`, `share` D
        with differing majorities, and the `noise` e of D = 2e(1-e).
    """
    others = ~np.eye(len(actions), dtype=bool)
    votes, rounds = tally.votes[others], tally.rounds[others]
    groups = np.array([each.group for each in actions])
    found = asymmetry(tally.votes, tally.rounds, groups[:, None] == groups)
    return {
        "alpha": alpha_of_counts(np.array([rounds - votes, votes])),
        "unanimous": tally.unanimous,
        "margin": mean_margin(tally.votes, tally.rounds),
        "asymmetry": {"pairs": found.pairs, "share": found.share, "noise": found.noise},
    }
