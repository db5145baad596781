"""Classes to ask about, what a server answers, and an asking that retries at once."""

import json
import re

import pandas as pd

from knowledge.datasets.registration import register_classes
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.options import AskingOptions, RetryOptions, SendOptions

KEY = "sk-test-0123456789abcdef"
NAMES = ["run", "walk", "jump", "sit", "stand", "wave", "clap", "bow"]


def described(body):
    """The class a request asks about, first asked or again."""
    return re.search(r"distinguishing (.*) in a video", body["messages"][1]["content"])[1]


def describe(body):
    label = described(body)
    return json.dumps({"description": f"A person doing {label}."})


def fast(workers=8, attempts=3, **changes):
    retry = RetryOptions(retries=attempts - 1, pause_s=0.01)
    send = SendOptions(limits=LimitsOptions(concurrency=workers), retry=retry, **changes)
    return AskingOptions(send=send)


def publish_classes(store, names=NAMES, group="all"):
    classes = pd.DataFrame({"class_id": range(len(names)), "name": names, "group": group})
    return register_classes(store, "demo", classes).artifact
