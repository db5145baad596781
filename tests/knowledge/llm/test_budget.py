"""Budget: what a call can cost at most, and a cap that no concurrency and no restart passes."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from knowledge.llm.budget import Budget, Charge, Price, PriceTable, actual, load_prices, worst_case
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.limits import LimitsOptions
from knowledge.llm.messages import (
    ChatReply,
    ChatRequest,
    Dialect,
    LlmError,
    Message,
    Sampling,
    Stopped,
)
from knowledge.llm.options import Cap, RetryOptions, SendOptions
from knowledge.llm.sender import Sender
from tests.llm_server import LlmServer

PRICE = Price(prompt=2.0, completion=8.0, batch=0.5)


def request(number=1, longest=50):
    return ChatRequest(
        question="description",
        class_id=1,
        class_name="run",
        round=number + 1,
        messages=(Message(role="user", content=f"What is run? ü {number:04}"),),
        sampling=Sampling(max_completion_tokens=longest),
    )


BODY = request().body("m", Dialect())
MOST = worst_case(BODY, PRICE)


def at_most(body, text):
    """Usage as large as it can be."""
    return worst_case(body, None).tokens - body["max_completion_tokens"], body[
        "max_completion_tokens"
    ]


def config(cap, attempts=1, concurrency=64):
    return SendOptions(
        limits=LimitsOptions(concurrency=concurrency),
        retry=RetryOptions(retries=attempts - 1, pause_s=0.001),
        cap=cap,
    )


def send_all(sender, numbers, workers=64):
    """Outcomes of requests sent side by side."""

    def one(number):
        try:
            return sender.answer(request(number))
        except (LlmError, Stopped) as error:
            return error

    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(one, numbers))


@pytest.fixture
def server():
    with LlmServer(lambda body: "yes") as server:
        server.usage = at_most
        yield server


@pytest.fixture
def model(server):
    model = OpenAiChat(server.url, "m")
    yield model
    model.close()


def test_worst_case_counts_bytes_and_the_longest_reply():
    text = len("What is run? ü 0001".encode())
    assert Charge(tokens=text + 16 + 50, usd=(2 * (text + 16) + 8 * 50) / 1e6) == MOST
    assert worst_case(BODY, None).usd is None
    assert worst_case(BODY, PRICE, batch=True).usd == MOST.usd / 2
    schema = {"type": "object"}
    form = request().model_copy(update={"reply_schema": schema}).body("m", Dialect())
    assert worst_case(form, None).tokens >= MOST.tokens + len(json.dumps(schema)) - 1


def test_what_a_call_is_charged():
    def error(status):
        return actual(LlmError("e", "p", "r", status), MOST, PRICE)

    reply = ChatReply(text="x", prompt_tokens=10, completion_tokens=5)
    assert actual(reply, MOST, PRICE) == Charge(tokens=15, usd=60e-6)
    assert actual(reply, MOST, None) == Charge(tokens=15, usd=None)
    assert actual(ChatReply(text="x", prompt_tokens=10), MOST, PRICE) == MOST
    assert [error(status) for status in (400, 402, 429, 408)] == [Charge()] * 4
    assert [error(status) for status in (500, 200, None)] == [MOST] * 3
    assert [error(status) for status in (502, 503, 504)] == [Charge()] * 3


@pytest.mark.parametrize(
    "cap",
    [Cap(max_tokens=int(10.5 * MOST.tokens)), Cap(max_usd=10.5 * MOST.usd)],
    ids=["tokens", "money"],
)
def test_64_workers_and_a_restart_never_pass_the_cap(server, model, tmp_path, cap):
    server.delay_s = 0.01
    with Ledger(tmp_path / "l") as ledger:
        outcomes = send_all(Sender(model, ledger, config(cap), PRICE), range(200))
        assert server.num_requests == 10
        assert sum(isinstance(outcome, Stopped) for outcome in outcomes) == 190
        charged = ledger.charged()
    assert charged.tokens == 10 * MOST.tokens
    with Ledger(tmp_path / "l") as ledger:
        outcomes = send_all(Sender(model, ledger, config(cap), PRICE), range(200, 300))
        assert server.num_requests == 10
        assert {str(outcome) for outcome in outcomes} == {str(outcomes[0])}
        assert "leaves no room for another call" in str(outcomes[0])
        twice = cap.model_copy(update={name: 2 * limit for name, limit in cap if limit})
        send_all(Sender(model, ledger, config(twice), PRICE), range(300, 400))
        assert server.num_requests in (20, 21)  # 21 is exactly the cap, to the last bit


_CHILD = """
import sys
from pathlib import Path
from knowledge.llm.budget import Cap
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from knowledge.llm.sender import Sender
from tests.knowledge.llm.test_budget import PRICE, config, send_all

with Ledger(Path(sys.argv[1])) as ledger:
    cap = Cap(max_tokens=int(sys.argv[3]))
    sender = Sender(OpenAiChat(sys.argv[2], "m"), ledger, config(cap, concurrency=4), PRICE)
    send_all(sender, range(int(sys.argv[4]), int(sys.argv[4]) + 6), workers=4)
"""


def test_the_cap_holds_over_processes(server, tmp_path):
    cap = str(int(10.5 * MOST.tokens))
    for start in ("0", "10", "20"):
        arguments = [str(tmp_path / "l"), server.url, cap, start]
        subprocess.run(
            [sys.executable, "-c", _CHILD, *arguments], check=True, cwd=Path(__file__).parents[3]
        )
    assert server.num_requests == 10


def test_calls_under_way_that_turn_out_cheap_make_room(server, model, tmp_path):
    server.usage = lambda body, text: (10, 1)
    server.delay_s = 0.005
    cap = Cap(max_tokens=int(3.5 * MOST.tokens))  # at most 3 at a time, then 11 tokens each
    with Ledger(tmp_path / "l") as ledger:
        outcomes = send_all(Sender(model, ledger, config(cap), PRICE), range(12))
        assert [outcome.status for outcome in outcomes] == ["ok"] * 12
        assert server.most_in_flight <= 3
        assert ledger.charged().tokens == 12 * 11


def test_what_may_have_been_billed_stays_charged_and_refusals_are_free(server, model, tmp_path):
    behaviours = ["500", "reset", "broken_json", "html", "400", "429_ms", "401", "503", None]
    server.behave = lambda number, body: behaviours[number - 1]
    with Ledger(tmp_path / "l") as ledger:
        sender = Sender(model, ledger, config(Cap(max_usd=1)), PRICE)
        send_all(sender, range(len(behaviours)), workers=1)
        assert ledger.charged().tokens == 5 * MOST.tokens
        assert ledger.charged().usd == pytest.approx(5 * MOST.usd)
        assert ledger.uncertain().tokens == 4 * MOST.tokens
        # What was being sent when a process died is charged in full as well.
        ledger.begin("k", "q", server.url, "m", "{}", MOST)
    with Ledger(tmp_path / "l") as ledger:
        assert ledger.charged().tokens == 6 * MOST.tokens


def test_retries_are_charged_one_by_one(server, model, tmp_path):
    server.behave = lambda number, body: "500"
    cap = Cap(max_tokens=int(3.5 * MOST.tokens))
    with Ledger(tmp_path / "l") as ledger:
        sender = Sender(model, ledger, config(cap, attempts=9), PRICE)
        with pytest.raises(Stopped, match="leaves no room"):
            sender.answer(request())
        assert server.num_requests == 3


def test_usage_beyond_the_most_stops_what_follows(server, model, tmp_path):
    server.usage = lambda body, text: (10_000, 10_000)
    cap = Cap(max_tokens=10 * MOST.tokens)
    with Ledger(tmp_path / "l") as ledger:
        sender = Sender(model, ledger, config(cap), PRICE)
        sender.answer(request())
        with pytest.raises(Stopped, match="20000 are charged"):
            sender.answer(request(2))
    assert server.num_requests == 1


def test_the_stop_says_what_is_only_possibly_billed(server, model, tmp_path):
    server.usage = lambda body, text: (60, 40)
    behaviours = ["500", None, "reset"]
    server.behave = lambda number, body: behaviours[number - 1]
    cap = Cap(max_tokens=2 * MOST.tokens + 101)
    with Ledger(tmp_path / "l") as ledger:
        send_all(Sender(model, ledger, config(cap), PRICE), range(2), workers=1)
    with Ledger(tmp_path / "l") as ledger:
        outcomes = send_all(Sender(model, ledger, config(cap), PRICE), range(2, 4), workers=1)
    assert (
        f"{2 * MOST.tokens + 100} are charged over all runs in the ledger, "
        f"{2 * MOST.tokens} of them only possibly billed"
    ) in str(outcomes[1])


def test_an_outage_does_not_eat_the_cap(server, model, tmp_path):
    server.behave = lambda number, body: "503" if number <= 6 else None
    cap = Cap(max_tokens=2 * MOST.tokens)
    with Ledger(tmp_path / "l") as ledger:
        sender = Sender(model, ledger, config(cap, attempts=9), PRICE)
        assert sender.answer(request()).status == "ok"
        assert server.num_requests == 7


def test_an_endpoint_that_ignores_the_limit_is_reserved_for(server, model, tmp_path, caplog):
    server.usage = lambda body, text: (20, 4 * body["max_completion_tokens"])
    cap = Cap(max_tokens=1000)
    most = worst_case(BODY, PRICE, excess=4.0)
    assert most.tokens == MOST.tokens + 3 * 50
    with Ledger(tmp_path / "l") as ledger:
        sender = Sender(model, ledger, config(cap), PRICE)
        outcomes = send_all(sender, range(100), workers=1)
        assert server.num_requests == (1000 - most.tokens) // 220 + 1
        assert f"one more may cost {most.tokens}" in str(outcomes[-1])
        assert ledger.charged().tokens <= 1000
    assert caplog.text.count("bills 200 tokens for a reply limited to 50") == 1
    assert server.url in caplog.text


def test_a_cap_in_money_needs_prices_before_anything_is_sent(server, model, tmp_path):
    cap = config(Cap(max_usd=5))
    with Ledger(tmp_path / "l") as ledger:
        with pytest.raises(
            ValueError, match=r"a cap of 5 US dollars needs the price.*--llm-prices"
        ):
            Sender(model, ledger, cap, None)
        Sender(model, ledger, config(Cap(max_tokens=10_000))).answer(request())
        with pytest.raises(ValueError, match="if the ledger holds calls made without one"):
            Sender(model, ledger, cap, PRICE)
    assert server.num_requests == 1


def test_a_capped_request_must_limit_its_reply(server, model, tmp_path):
    with Ledger(tmp_path / "l") as ledger:
        sender = Sender(model, ledger, config(Cap(max_tokens=10_000)), PRICE)
        with pytest.raises(ValueError, match="must limit its reply"):
            sender.answer(request(longest=None))
    assert server.num_requests == 0


def test_settling_never_goes_below_nothing():
    budget = Budget(Cap(max_tokens=100, max_usd=1), Charge(), PRICE)
    budget.settle(Charge(tokens=50, usd=0.5), Charge())
    assert budget.charged == Charge()


def test_prices_by_host_and_model(tmp_path):
    table = load_prices()
    assert table.sha256
    assert table.of("https://api.openai.com/v1", "gpt-4o") == table.of(
        "https://api.openai.com/v1", "gpt-4o-2024-08-06"
    )
    assert table.of("https://api.openai.com/v1", "gpt-4o-mini-2024-07-18") == table.of(
        "https://api.openai.com/v1", "gpt-4o-mini"
    )
    first = table.of("https://api.openai.com/v1", "gpt-4o-2024-05-13")
    assert (first.prompt, first.completion) == (5, 15)
    assert table.of("http://localhost:8000/v1", "gpt-4o") is None
    assert table.of("https://api.openai.com/v1", "gpt-4o-audio") is None
    path = tmp_path / "prices.json"
    path.write_text('{"version": "1", "prices": {"h": {"m": {"prompt": -1, "completion": 1}}}}')
    with pytest.raises(ValueError, match=r"prices\.json: .*greater than or equal to 0.*; write"):
        load_prices(path)
    with pytest.raises(ValueError, match=r"none\.json: .*No such file"):
        load_prices(tmp_path / "none.json")
    assert isinstance(table, PriceTable)
