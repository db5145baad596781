"""Flow `extract`: what an LLM knows about a class list, as one artifact per knowledge kind."""

from __future__ import annotations

import os
from contextlib import closing
from pathlib import Path

from artifacts.artifact import Artifact
from artifacts.store import Store
from flows.orchestration.console import console, progress
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.resolve import classes_of, newest_of
from flows.orchestration.specs.extract import ExtractSpec
from knowledge.extraction.calls import ask
from knowledge.extraction.question import Question, read_action_classes
from knowledge.extraction.recorded import RecordedReplies
from knowledge.extraction.registry import kind_module
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Stopped

API_KEY = "OPENAI_API_KEY"


@task
def ask_task(store: str, spec: ExtractSpec, kind: str) -> JobReport | None:
    """Ask one kind's questions about every class: `llm_calls`; None where it has no question."""
    target = Store(store)
    classes = classes_of(target, spec.classes)
    question = spec.config(kind)
    _videos(target, spec, question)  # missing ones are found before anything is paid for
    try:
        with progress(f"asking for {kind}") as advance:
            if spec.llm is None:
                names = classes.read(["name"])["name"].to_pylist()
                return job_report(
                    ask(target, classes, question, RecordedReplies(names), None, advance)
                )
            from knowledge.llm.client import OpenAiChat

            llm = spec.llm
            api_key = os.environ.get(API_KEY, "").strip()
            model = OpenAiChat(llm.base_url, llm.model, api_key, llm.timeout_s, llm.deadline_s)
            with closing(model), Ledger(_ledger_path(target, spec)) as ledger:
                return job_report(
                    ask(target, classes, question, model, ledger, advance, spec.asking)
                )
    except ValueError:
        if _has_requests(classes, question):
            raise
        _say_no_question(kind, classes)
        return None


@task
def build_task(store: str, spec: ExtractSpec, kind: str, calls: str) -> JobReport | None:
    """Replies to knowledge; None where nothing was recorded about these classes."""
    target = Store(store)
    classes = classes_of(target, spec.classes)
    replies = target.get(calls)
    if spec.llm is None and not _answered(replies):
        console.print(
            f"{kind}: nothing is recorded about the classes of {classes.ref}; "
            "ask an endpoint with --llm-base-url and --llm-model"
        )
        return None
    config = spec.config(kind)
    outcome = kind_module(kind).build(
        target,
        classes,
        replies,
        config,
        min_coverage=spec.least_coverage,
        videos=_videos(target, spec, config),
    )
    return job_report(outcome)


@flow(name="extract")
def extract(store: str, spec: ExtractSpec) -> list[JobReport]:
    """Extract knowledge: per kind `llm_calls` (raw replies) and the artifact made from them.

    A kind that fails or stops does not keep the others from being asked; its problem is raised at
    the end, the first failure rather than a halt. The others are printed.

    Raises:
        ValueError: a kind that cannot be asked for or built.
        RuntimeError: an endpoint that gave no usable answer, or a halt (`Stopped`).
    """
    classes = classes_of(Store(store), spec.classes).ref
    spec = spec.model_copy(update={"classes": f"{classes.name}@{classes.key}"})
    reports: list[JobReport] = []
    problems: dict[str, Exception] = {}
    for kind in spec.kinds:
        try:
            if calls := ask_task(store, spec, kind):
                reports.append(calls)
                if built := build_task(store, spec, kind, calls.ref):
                    reports.append(built)
        except (ValueError, OSError, RuntimeError) as problem:
            problems[kind] = problem
            if _was_interrupted(problem):
                break
    if problems:
        first = min(problems.values(), key=lambda each: isinstance(each, Stopped))
        for kind, other in problems.items():
            if str(other) != str(first):
                console.print(f"{kind}: {' '.join(str(other).split())}", markup=False)
        for each in reports:
            console.print(f"kept {each.ref}", markup=False)
        raise first
    return reports


def _videos(store: Store, spec: ExtractSpec, config: Question) -> Artifact | None:
    """Videos of the classes' dataset, where a kind counts their labels."""
    if not config.needs_videos:
        return None
    classes = classes_of(store, spec.classes)
    videos = newest_of(store, "videos", classes.manifest.name, classes=classes)
    return videos or store.get(f"videos/{classes.manifest.name}")


def _has_requests(classes: Artifact, question: Question) -> bool:
    return bool(question.question.requests(read_action_classes(classes)))


def _say_no_question(kind: str, classes: Artifact) -> None:
    console.print(f"{kind}: the classes of {classes.ref} lead to no question, so it is left out")


def _was_interrupted(problem: BaseException | None) -> bool:
    """Whether Ctrl-C led to it."""
    while problem is not None and not isinstance(problem, KeyboardInterrupt):
        problem = problem.__context__
    return problem is not None


def _answered(calls: Artifact) -> bool:
    return "ok" in calls.read(["status"])["status"].to_pylist()


def _ledger_path(store: Store, spec: ExtractSpec) -> Path:
    if spec.ledger:
        return spec.ledger
    if not store.is_local:
        raise ValueError(f"store {store.root} is not a local directory; give --llm-ledger FILE")
    return Path(store.root) / "ledger.sqlite3"
