"""Co-occurrence: which classes may happen at the same time (the `cooc` model's relation matrix).

The LLM is asked, per class, group of candidates and round, for `num` actions of the group; the
first `keep` of a reply are its votes. Base rows come from the training labels where they are given,
the others from the votes. Training labels of novel classes are zeroed before anything is counted,
so nothing about novel classes leaks.

Here is what is asked and what is published; `knowledge.extraction.cooccurrence.votes` counts the
votes and `knowledge.extraction.cooccurrence.matrix` selects the partners.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, model_validator

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from knowledge.extraction.cooccurrence.matrix import Mirror, Relation, select
from knowledge.extraction.cooccurrence.votes import (
    CooccurrenceReply,
    Counts,
    Flags,
    Tally,
    agreement,
    can_change,
    count_votes,
    partners,
    vocabularies,
)
from knowledge.extraction.parse import Parsed, check_calls, check_coverage, parse
from knowledge.extraction.question import ActionClass, Question, read_action_classes
from knowledge.extraction.replies import Vocabulary
from knowledge.extraction.report.ground_truth import count_videos, labels_of
from knowledge.llm.messages import ChatRequest, Message

KIND = "cooccurrence"
INSTRUCTION = (
    'Answer with one JSON object {"actions": [...]}: only names of the list, spelled as in it, '
    "most likely first, never the action asked about, fewer where fewer are plausible."
)
PROMPT = "Please select {num} actions that may occur simultaneously with {label} in [{candidates}]."

MAX_REPEATED = 0.5
"""Rounds that repeat an earlier reply more often than this are hardly independent: a warning."""


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
        quoted = {
            each.class_id: json.dumps(each.prompt_name, ensure_ascii=False) for each in classes
        }
        schema = CooccurrenceReply.model_json_schema()
        requests = []
        for number in range(1, self.rounds + 1):
            for asked in classes:
                for group, members in groups.items():
                    if not (num_others := len(members) - (group == asked.group)):
                        continue
                    listed = self._shuffled(asked, members, number)
                    prompt = PROMPT.format(
                        num=min(self.num, num_others),
                        label=quoted[asked.class_id],
                        candidates=", ".join(quoted[each.class_id] for each in listed),
                    )
                    request = ChatRequest(
                        question=KIND,
                        class_id=asked.class_id,
                        class_name=asked.name,
                        group=group,
                        candidates=tuple(each.prompt_name for each in listed),
                        round=number,
                        messages=(
                            Message(role="system", content=INSTRUCTION),
                            Message(role="user", content=prompt),
                        ),
                        reply_schema=schema,
                        sampling=self.sampling,
                    )
                    requests.append(request)
        return requests

    def _shuffled(
        self, asked: ActionClass, members: Sequence[ActionClass], number: int
    ) -> list[ActionClass]:
        """The candidates in the order of a round, which depends on nothing but the ids."""
        begun = hashlib.sha256(f"{self.seed}/{number}/{asked.class_id}/".encode())

        def place(member: ActionClass) -> bytes:
            identity = begun.copy()
            identity.update(b"%d" % member.class_id)
            return identity.digest()

        return sorted(members, key=place)


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
    """Ask no further round about a class and group once none can change what is selected, see
    `knowledge.extraction.cooccurrence.votes.can_change`. Saves nothing where `top_k` is small."""

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
        names = vocabularies(classes)
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
                vocabulary=names[request.group],
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
            votes.update(partners(reply, request.vocabulary, request.class_id)[0][: self.keep])
        left = self.rounds - request.round + 1
        return can_change(votes, left, self.resolved_min_votes, self.top_k, request.elsewhere)


class CooccurrenceConfig(VoteQuestion):
    """What is asked, and how votes and counts become the matrix."""

    split: Literal["none", "base75", "base50"] = "none"
    """Which classes are base; with `none` every row comes from votes."""
    mirror: Mirror | None = None
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
    def resolved_mirror(self) -> Mirror:
        """`mirror` with None replaced by what it means."""
        return self.mirror or ("none" if self.split == "none" else "novel")

    @property
    def needs_videos(self) -> bool:
        """Whether `build` counts the training labels of the dataset's videos."""
        return self.split != "none"


CONFIG = CooccurrenceConfig
"""Settings of this kind."""


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
        check_coverage(calls, found.manifest.fact("answered"), num_classes, min_coverage)
        return Outcome(found, made=False)
    actions = read_action_classes(classes)
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
        counts = count_videos(labels_of(videos, classes, "train"), actions, is_base)
    relation = select(tally, counts, is_base, config)
    rows = _rows(actions, tally, counts, relation)
    from_counts = 0 if counts is None else int(is_base.sum())
    report = _report(actions, tally, relation, parsed) | {
        "rows_from": {"train": from_counts, "llm": len(actions) - from_counts},
        "rows": len(rows),
    }
    facts = {"answered": int(tally.answered.sum())}
    table = pa.Table.from_pylist(rows, schema=schema_of(KIND).arrow())
    return Outcome(store.publish(provenance, table, report, facts), made=True)


def base_classes(actions: Sequence[ActionClass], config: CooccurrenceConfig) -> Flags:
    """(K,) which classes are base; all of them without a split."""
    flags = {
        "none": [True for _ in actions],
        "base75": [each.is_base_75 for each in actions],
        "base50": [each.is_base_50 for each in actions],
    }
    return np.array(flags[config.split], bool)


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
    actions: Sequence[ActionClass],
    tally: Tally,
    relation: Relation,
    parsed: Parsed[CooccurrenceReply],
) -> dict[str, Any]:
    def names(flags: Flags) -> list[str]:
        return [actions[int(place)].name for place in np.flatnonzero(flags)]

    others = relation.selected & ~np.eye(len(actions), dtype=bool)
    source, count = np.unique(relation.source[relation.selected], return_counts=True)
    repeated = parsed.repeated
    return {
        "requests": parsed.num_requests,
        "replies": len(parsed.replies) - tally.drops.total(),
        "asked_again": parsed.num_reasks,
        "drops": dict(sorted((parsed.drops + tally.drops).items())),
        "coverage": float(tally.answered.mean()),
        "unanswered_classes": names(~tally.answered),
        "classes_without_partner": names(np.asarray(~others.any(axis=1))),
        "selected": dict(zip(source.tolist(), count.tolist(), strict=True)),
        "names_left_out": dict(sorted(tally.names.items())),
        "inventions": tally.names["invented"],
        "repeated_rounds": repeated,
        "agreement": agreement(tally, actions),
        "warnings": {"repeated_rounds": repeated} if (repeated or 0) > MAX_REPEATED else {},
    }
