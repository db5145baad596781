"""A store, a ledger and a batch server, for tests of batch mode."""

import json
import re

import pandas as pd

from artifacts.store import Store
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.file import HELD_WAIT_S
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import Dialect
from knowledge.llm.options import AskingOptions, BatchOptions, Cap, RetryOptions, SendOptions

NAMES = [f"action {letter}" for letter in "abcdefghij"]
QUICK = {"poll_s": 0.01}


def describe(body):
    label = re.search(r"distinguishing (.*) in a video", body["messages"][1]["content"])[1]
    return json.dumps({"description": f"A person doing {label}.\u2028So."}, ensure_ascii=False)


class World:
    """A store, a ledger and a server; the dialect is known, so all requests go in batches."""

    def __init__(self, path, server):
        self.path = path
        self.server = server
        self.store = Store(path / "store")
        classes = pd.DataFrame({"class_id": range(len(NAMES)), "name": NAMES, "group": "all"})
        self.classes = register_classes(self.store, "demo", classes).artifact
        with self.ledger() as ledger:
            ledger.settle_dialect(server.url, "m", Dialect())

    def ledger(self, **held):
        return Ledger(self.path / "ledger.sqlite", **held)

    def ask(
        self,
        question=None,
        cap=None,
        prices=None,
        progress=None,
        is_batch=True,
        key=None,
        held_wait_s=HELD_WAIT_S,
        **batch,
    ):
        send = SendOptions(cap=cap or Cap(), retry=RetryOptions(retries=0))
        config = AskingOptions(
            send=send, prices=prices, batch=BatchOptions(**QUICK | batch) if is_batch else None
        )
        model = OpenAiChat(self.server.url, "m", key, timeout_s=10)
        with self.ledger(held_wait_s=held_wait_s) as ledger:
            try:
                question = question or DescriptionConfig()
                return ask(self.store, self.classes, question, model, ledger, progress, config)
            finally:
                model.close()

    def states(self):
        with self.ledger() as ledger:
            return [
                row[0] for row in ledger.file.read("SELECT state FROM batches ORDER BY created_at")
            ]

    def attempts(self):
        with self.ledger() as ledger:
            return ledger.file.read("SELECT status, charged_tokens, error FROM attempts")
