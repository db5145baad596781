"""Flow `extract`: what an LLM knows about a class list, as votes and descriptions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from pydantic import BaseModel, ConfigDict, Field

from artifacts.store import Artifact, Outcome, Store
from flows.resolve import classes_of
from flows.steps import Step, console, progress, step
from knowledge.extraction import Question, ask
from knowledge.kinds import cooccurrence, description
from knowledge.kinds.cooccurrence import CooccurrenceConfig
from knowledge.kinds.description import DescriptionConfig
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.messages import ChatModel
from knowledge.llm.recorded import RecordedReplies

API_KEY = "OPENAI_API_KEY"
Kind = Literal["cooccurrence", "description"]


class LlmSpec(BaseModel):
    """An OpenAI-compatible endpoint; its key, if it needs one, is read from OPENAI_API_KEY."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base_url: str
    model: str
    timeout_s: float = Field(120.0, gt=0)
    max_workers: int = Field(8, ge=1)
    """Requests in flight at a time."""


class ExtractSpec(BaseModel):
    """What to ask about which classes, and whom."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    classes: str
    """Name of a registered dataset or of a known class list."""
    kinds: tuple[Kind, ...] = ("cooccurrence", "description")
    llm: LlmSpec | None = None
    """None answers from the recorded replies that come with the package."""
    ledger: Path | None = None
    """Where attempts are kept; `ledger.sqlite3` in the store when None."""
    cooccurrence: CooccurrenceConfig = CooccurrenceConfig()
    description: DescriptionConfig = DescriptionConfig()


@task(cache_policy=NO_CACHE)
def ask_task(store: str, spec: ExtractSpec, kind: Kind) -> Step:
    """Ask one kind's questions about every class: `llm_calls`."""
    target = Store(store)
    classes = classes_of(target, spec.classes)
    question: Question = getattr(spec, kind)
    _training_videos(target, spec, kind)  # missing ones are found before anything is paid for
    with progress(f"asking for {kind}") as advance:
        if spec.llm is None:
            names = classes.read(["name"])["name"].to_pylist()
            return step(ask(target, classes, question, RecordedReplies(names), None, advance))
        model: ChatModel = OpenAiChat(
            spec.llm.base_url, spec.llm.model, os.environ.get(API_KEY), spec.llm.timeout_s
        )
        with Ledger(_ledger_path(target, spec)) as ledger:
            workers = spec.llm.max_workers
            return step(ask(target, classes, question, model, ledger, advance, workers))


@task(cache_policy=NO_CACHE)
def build_task(store: str, spec: ExtractSpec, kind: Kind, calls: str) -> Step | None:
    """Replies to knowledge; None where nothing was recorded about these classes."""
    target = Store(store)
    classes = classes_of(target, spec.classes)
    replies = target.get(calls)
    if spec.llm is None and not _answered(replies):
        console.print(
            f"{kind}: nothing is recorded about the classes of {classes.ref}; "
            "ask an endpoint with --base-url and --model"
        )
        return None
    return step(_build(target, spec, kind, classes, replies))


@flow(name="extract")
def extract(store: str, spec: ExtractSpec) -> list[Step]:
    """Extract knowledge: per kind `llm_calls` (raw replies) and the artifact made from them."""
    steps = []
    for kind in spec.kinds:
        calls = ask_task(store, spec, kind)
        steps += [calls, build_task(store, spec, kind, calls.ref)]
    return [each for each in steps if each is not None]


def _build(
    store: Store, spec: ExtractSpec, kind: Kind, classes: Artifact, replies: Artifact
) -> Outcome:
    if kind == "description":
        return description.build(store, classes, replies, spec.description)
    videos = _training_videos(store, spec, kind)
    return cooccurrence.build(store, classes, replies, spec.cooccurrence, videos)


def _training_videos(store: Store, spec: ExtractSpec, kind: Kind) -> Artifact | None:
    """The newest videos of the classes' dataset, where base rows are counted from labels."""
    if kind != "cooccurrence" or spec.cooccurrence.split == "none":
        return None
    return store.get(f"videos/{spec.classes.split('@')[0]}")


def _answered(calls: Artifact) -> bool:
    return "ok" in calls.read(["status"])["status"].to_pylist()


def _ledger_path(store: Store, spec: ExtractSpec) -> Path:
    if spec.ledger:
        return spec.ledger
    if not store.is_local:
        raise ValueError(f"store {store.root} is not a local directory; give --ledger FILE")
    return Path(store.root) / "ledger.sqlite3"
