"""Replay: what was recorded comes back over HTTP, and leads to the same knowledge."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import openai
import pytest

from artifacts.store import Store
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.registration import register_classes
from knowledge.extraction.calls import ask
from knowledge.extraction.kinds.description import DescriptionConfig
from knowledge.extraction.question import read_action_classes
from knowledge.extraction.recorded import BUNDLES, RecordedReplies
from knowledge.extraction.registry import kind_module, kind_names
from knowledge.extraction.replay import Recording, ReplayServer, bundled, recorded_calls
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.messages import ChatReply, ChatRequest, Dialect, LlmError, Message, Sampling
from knowledge.llm.options import AskingOptions, RetryOptions, SendOptions

ROOT = Path(__file__).parents[3]
ONCE = AskingOptions(send=SendOptions(retry=RetryOptions(retries=0)))


def body(text="Hello", model="m", **more):
    return {"model": model, "messages": [{"role": "user", "content": text}]} | more


def recording(*exchanges, model="one", what="calls"):
    return Recording(model, what, lambda: iter(exchanges))


def said(text, **more):
    return ChatReply(text=text, **{"finish_reason": "stop"} | more)


@pytest.fixture
def serve():
    opened = []

    def start(*recordings):
        server = ReplayServer(recordings, 0).__enter__()
        client = openai.OpenAI(base_url=server.url, api_key="none", max_retries=0)
        opened.append((server, client))
        return client

    yield start
    for server, client in opened:
        client.close()
        server.__exit__()


def text_of(completion):
    return completion.choices[0].message.content


def asked_over(recordings, store, classes, config, ledger, model):
    with ReplayServer(recordings, 0) as server, Ledger(ledger) as kept:
        chat = OpenAiChat(server.url, model, timeout_s=10)
        try:
            return ask(store, classes, config, chat, kept, None, ONCE).artifact
        finally:
            chat.close()


@pytest.mark.parametrize("kind", kind_names())
def test_an_extraction_is_the_same_through_replay_and_through_replay_of_that(tmp_path, kind):
    module = kind_module(kind)
    config = module.CONFIG()

    def knowledge(store, calls):
        table = module.build(store, classes, calls, config).artifact.read()
        return (
            table.drop(["model"]).to_pylist()
            if "model" in table.column_names
            else (table.to_pylist())
        )

    store = Store(tmp_path / "store")
    classes = register_classes(store, "stickworld", class_list("stickworld")).artifact
    names = [each.name for each in read_action_classes(classes)]
    first = ask(store, classes, config, RecordedReplies(names), None).artifact
    args = (store, classes, config)
    second = asked_over(bundled(), *args, tmp_path / "second", "stickworld")
    third = asked_over([recorded_calls(second)], *args, tmp_path / "third", "any other")
    assert first.manifest.num_rows == len(second.read()) == len(third.read()) > 0
    replies = [[row["reply"] for row in each.read().to_pylist()] for each in (first, second, third)]
    assert replies[0] == replies[1] == replies[2]
    assert knowledge(store, first) == knowledge(store, second) == knowledge(store, third)


@pytest.mark.parametrize("bundle", BUNDLES)
def test_a_bundle_is_chosen_by_its_name(bundle, serve):
    client = serve(*bundled())
    row = class_list(bundle).iloc[-1]
    classes = register_classes(Store("memory://replay"), bundle, class_list(bundle)).artifact
    request = DescriptionConfig().requests(read_action_classes(classes))[-1]
    expected = RecordedReplies(class_list(bundle)["name"]).complete(request, Dialect()).text
    messages = [message.model_dump() for message in request.messages]
    reply = client.chat.completions.create(model=bundle, messages=messages)
    assert text_of(reply) == expected, row["name"]
    assert text_of(client.chat.completions.create(model="gpt-5", messages=messages)) is not None


def test_a_client_may_use_another_model_format_and_spelling_of_content(serve):
    client = serve(recording((body(model="first", temperature=0.5), said("Hi"))))
    parts = [{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]
    for content in ("Hello", parts):
        reply = client.chat.completions.create(
            model="second",
            messages=[{"role": "user", "content": content}],
            response_format={"type": "json_object"},
        )
        assert (text_of(reply), reply.model) == ("Hi", "second")
    assert [model.id for model in client.models.list()] == ["recorded", "one"]


def test_equal_messages_are_answered_round_by_round_and_then_again(serve):
    client = serve(recording(*((body(), said(text)) for text in "abc"), (body("Bye"), said("x"))))
    texts = [text_of(client.chat.completions.create(**body())) for _ in range(7)]
    assert texts == list("abcabca")


def test_a_truncated_reply_and_the_longer_one_are_told_apart(serve):
    cut = (body(max_completion_tokens=5), said("ab", finish_reason="length"))
    whole = (body(max_completion_tokens=10), said("abc"))
    client = serve(recording(cut, whole))
    for _ in range(2):
        assert text_of(client.chat.completions.create(**body(max_tokens=10))) == "abc"
        assert text_of(client.chat.completions.create(**body(max_tokens=5))) == "ab"
    texts = [text_of(client.chat.completions.create(**body())) for _ in range(3)]
    assert texts == ["ab", "abc", "ab"]


def test_outcomes_and_usage_come_back_as_they_were(serve):
    refused = said("I cannot", status="refusal", prompt_tokens=3, completion_tokens=2)
    filtered = ChatReply(text=None, finish_reason="content_filter", status="refusal")
    client = serve(recording((body("a"), refused), (body("b"), filtered), (body("c"), said(""))))
    url = str(client.base_url).rstrip("/")
    chat = OpenAiChat(url, "m")

    def request(text):
        return ChatRequest(
            question="q",
            class_id=0,
            class_name="c",
            messages=(Message(role="user", content=text),),
            sampling=Sampling(),
        )

    came = [chat.complete(request(text), Dialect()) for text in "abc"]
    chat.close()
    fixed = {"duration_s": None}
    assert [each.model_copy(update=fixed) for each in came] == [refused, filtered, said("")]


def test_what_is_not_recorded_is_told(serve):
    silent = ChatReply(text=None, status="no_reply")
    client = serve(
        recording((body(), said("Hi"))), recording((body("Why?"), silent), model="two", what="x")
    )
    for text in ("Why?", "What?"):
        with pytest.raises(openai.NotFoundError) as caught:
            client.chat.completions.create(**body(text))
        assert caught.value.code == "not_recorded"
        assert f"nothing recorded for ...'{text}'; there are: 1 of one calls" in str(caught.value)
    with pytest.raises(openai.NotFoundError, match=r"there are: none"):
        client.chat.completions.create(**body(model="two"))


def test_what_was_asked_and_not_answered_is_an_outcome(serve):
    silent = ChatReply(text=None, status="no_reply")
    client = serve(
        recording((body(), said("Hi")), (body("Why?"), silent), (body(), silent)),
        recording((body("Late?"), said("Yes")), (body("Late?"), silent), model="two"),
    )
    chat = OpenAiChat(str(client.base_url).rstrip("/"), "m")
    message = Message(role="user", content="Why?")
    asked = ChatRequest(question="q", class_id=0, class_name="c", messages=(message,))
    came = chat.complete(asked, Dialect())
    chat.close()
    assert (came.text, came.status) == (None, "refusal")
    for text, expected in (("Hello", "Hi"), ("Hello", "Hi"), ("Late?", "Yes"), ("Late?", "Yes")):
        assert text_of(client.chat.completions.create(**body(text))) == expected


def test_an_extraction_with_an_unknown_class_goes_through_replay(tmp_path):
    store = Store(tmp_path / "store")
    table = class_list("stickworld").head(3)
    table.loc[2, "name"] = "juggling chainsaws on Mars"
    classes = register_classes(store, "demo", table).artifact
    names = [each.name for each in read_action_classes(classes)]
    config = DescriptionConfig()
    first = ask(store, classes, config, RecordedReplies(names), None).artifact
    second = asked_over([recorded_calls(first)], store, classes, config, tmp_path / "l", "m")
    statuses = [each.read(["status"])["status"].to_pylist() for each in (first, second)]
    assert statuses == [["ok", "ok", "no_reply"], ["ok", "ok", "refusal"]]
    replies = [each.read(["reply"])["reply"].to_pylist() for each in (first, second)]
    assert replies[0] == replies[1]


def test_requests_that_make_no_sense_are_refused(serve):
    client = serve(recording((body(), said("Hi"))))
    with pytest.raises(openai.BadRequestError, match=r"stream=true is not served"):
        client.chat.completions.create(**body(), stream=True)
    for messages in ([], [{"role": "user"}], [{"role": "user", "content": [{"type": "image"}]}]):
        with pytest.raises(openai.BadRequestError, match=r"no chat completion"):
            client.chat.completions.create(model="m", messages=messages)
    with pytest.raises(openai.NotFoundError, match=r"nothing at /v1/embeddings"):
        client.embeddings.create(model="m", input="x")
    assert text_of(client.chat.completions.create(**body())) == "Hi"


def test_an_unrecorded_question_stops_an_extraction(tmp_path):
    store = Store(tmp_path / "store")
    classes = register_classes(store, "hmdb51", class_list("hmdb51")).artifact
    config = kind_module("cooccurrence").CONFIG()
    with pytest.raises(LlmError, match=r"nothing recorded for .*; there are: 51 of hmdb51"):
        asked_over(bundled(), store, classes, config, tmp_path / "ledger", "hmdb51")


def test_only_replies_are_served(tmp_path):
    store = Store(tmp_path / "store")
    classes = register_classes(store, "hmdb51", class_list("hmdb51")).artifact
    with pytest.raises(ValueError, match=r"classes/hmdb51@.* holds no replies"):
        recorded_calls(classes)


def test_the_port_may_be_taken():
    with (
        ReplayServer([], 0) as server,
        pytest.raises(ValueError, match=r"port \d+ of 127.0.0.1: .*; give another --port"),
    ):
        ReplayServer([], int(re.search(r":(\d+)/", server.url)[1]))
    with pytest.raises(ValueError, match=r"port 70000 .*; give another --port"):
        ReplayServer([], 70000)


def test_the_command_serves_until_ctrl_c(tmp_path):
    child = subprocess.Popen(
        [sys.executable, "-m", "flows.cli", "replay", "--port", "0"],
        cwd=ROOT,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    first, usage, _ = (child.stdout.readline() for _ in range(3))
    url = re.search(r"http://127\.0\.0\.1:\d+/v1", first)[0]
    assert f"--llm-base-url {url} --llm-model" in usage
    with urllib.request.urlopen(f"{url}/models") as answer:
        models = [model["id"] for model in json.load(answer)["data"]]
    assert {"recorded", *BUNDLES} == {*models}
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=20)
    assert (child.returncode, out.strip(), err) == (0, "ended", "")
