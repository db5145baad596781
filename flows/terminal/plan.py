"""What an extraction would cost, before anything is sent."""

from __future__ import annotations

from contextlib import closing

from rich.table import Table

from artifacts.store import Store
from flows.extract_knowledge import _has_requests, _ledger_path, _say_no_question
from flows.orchestration.console import console
from flows.orchestration.resolve import classes_of
from flows.orchestration.specs.extract import ExtractSpec
from flows.terminal.work import named
from knowledge.extraction.plan import plan
from knowledge.llm.budget import Charge, load_prices
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger


def show_plan(store: str, spec: ExtractSpec) -> None:
    """Print what `extract` would send and cost; nothing is sent.

    Raises:
        ValueError: no endpoint to ask.
    """
    if spec.llm is None:
        raise ValueError("recorded replies cost nothing; plan with --llm-base-url and --llm-model")
    target = Store(store)
    classes = classes_of(target, spec.classes)
    path = _ledger_path(target, spec)
    model = OpenAiChat(spec.llm.base_url, spec.llm.model)
    with closing(model), Ledger(path if path.exists() else None, read_only=True) as ledger:
        plans = []
        for kind in spec.kinds:
            question = spec.config(kind)
            if _has_requests(classes, question):
                plans.append(plan(target, classes, question, model, ledger, spec.asking))
            else:
                _say_no_question(kind, classes)
        spent = ledger.charged()
    table = Table(
        "kind", "requests", "answers kept", "in a batch", "calls", "tokens", "US dollars", box=None
    )
    for each in plans:
        numbers = map(str, (each.num_requests, each.num_kept, each.num_in_batch, each.num_calls))
        table.add_row(each.kind, *numbers, *_ranges(each.likely, each.most))
    console.print(f"read {named(target, str(classes.ref))}", markup=False, soft_wrap=True)
    console.print(table)
    console.print(f"charged in {path.name} so far: {spent.tokens} tokens, {_dollars(spent.usd)}")
    prices = load_prices(spec.asking.prices)
    console.print(
        f"From likely to the most, at the prices of {prices.version} ({prices.sha256[:12]}); "
        "questions put again come on top. --llm-max-usd and --llm-max-tokens cap everything in the "
        "ledger."
    )


def _ranges(likely: Charge, most: Charge) -> tuple[str, str]:
    if likely.usd is None or most.usd is None:
        return f"{likely.tokens} - {most.tokens}", "price unknown"
    return f"{likely.tokens} - {most.tokens}", f"{likely.usd:.4f} - {most.usd:.4f}"


def _dollars(usd: float | None) -> str:
    return "price unknown" if usd is None else f"{usd:.4f} US dollars"
