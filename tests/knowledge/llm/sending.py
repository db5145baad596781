"""Requests and a sender that retries at once, for tests of the sender."""

from concurrent.futures import ThreadPoolExecutor

from knowledge.llm.limits import LimitsOptions
from knowledge.llm.messages import ChatRequest, LlmError, Message, Sampling, Stopped
from knowledge.llm.options import Cap, RetryOptions, SendOptions
from knowledge.llm.sender import Sender

SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def request(number=1, **changes):
    fields = {
        "question": "description",
        "class_id": 1,
        "class_name": "run",
        "round": number,
        "messages": (Message(role="user", content=f"What is run? {number}"),),
        "reply_schema": SCHEMA,
        "sampling": Sampling(max_completion_tokens=100),
    }
    return ChatRequest(**fields | changes)


def sender_of(model, ledger, attempts=3, cap=Cap(), max_wait_s=120.0, **limits):  # noqa: B008
    retry = RetryOptions(retries=attempts - 1, pause_s=0.01, max_wait_s=max_wait_s)
    return Sender(model, ledger, SendOptions(limits=LimitsOptions(**limits), retry=retry, cap=cap))


def send_all(sender, numbers, workers):
    def one(number):
        try:
            return sender.answer(request(number))
        except (LlmError, Stopped) as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, numbers))
