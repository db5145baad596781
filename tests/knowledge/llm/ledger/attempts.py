"""Requests, their keys and attempts at them, for tests of the ledger."""

from artifacts.provenance import canonical_json
from knowledge.llm.budget import Charge
from knowledge.llm.messages import ChatRequest, Dialect, Message, request_key

ENDPOINT, MODEL = "http://localhost/v1", "m"
MOST = Charge(tokens=100, usd=0.5)


def request(name="run", number=1):
    return ChatRequest(
        question="description",
        class_id=3,
        class_name=name,
        round=number,
        messages=(Message(role="user", content=f"What is {name}?"),),
    )


def key(asked, endpoint=ENDPOINT, model=MODEL, dialect=Dialect()):  # noqa: B008
    return request_key(endpoint, asked.body(model, dialect), asked.round)


def begin(ledger, asked, most=MOST):
    body = canonical_json(asked.body(MODEL, Dialect()))
    return ledger.begin(key(asked), asked.question, ENDPOINT, MODEL, body, most)
