"""The command `extract`: settings reach the endpoint, halts can be resumed, no key is shown."""

import traceback

from artifacts.store import Store
from tests.flows.command_line import ASKED, described, failed, halted


def test_a_refused_key_is_an_error_and_is_written_nowhere(actionlore, endpoint, tmp_path):
    endpoint.behave = lambda number, body: "status"
    endpoint.status = 401
    done = actionlore(
        *(*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m"),
        OPENAI_API_KEY="sk-very-secret-0123456789",
    )
    failed(done, endpoint.url, "check the API key", "goes on from there")
    assert not Store(tmp_path / "store").published("llm_calls")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret" not in path.read_bytes()


def test_a_plan_needs_an_endpoint_to_name_but_none_that_answers(actionlore, tmp_path):
    done = actionlore(
        *ASKED, "--llm-base-url", "http://127.0.0.1:9/v1", "--llm-model", "m", "--plan"
    )
    assert done.exit_code == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.strip().startswith("description")]
    assert line.split()[1:5] == ["36", "0", "0", "36"]
    assert "price unknown" in line
    assert not (tmp_path / "store/ledger.sqlite3").exists()
    failed(actionlore(*ASKED, "--plan"), "recorded replies cost nothing", "--llm-base-url")


def test_a_reached_cap_is_a_halt_and_the_same_command_goes_on(actionlore, endpoint, tmp_path):
    given = (*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m", "--llm-concurrency", 1)
    assert actionlore(*given, "--llm-max-tokens", 200).exit_code == 75
    assert endpoint.num_requests == 0
    done = actionlore(*given, "--llm-max-tokens", 2000)
    assert done.exit_code == 75, done.output
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("stopped: the cap of 2000 tokens leaves no room")
    answered = endpoint.num_requests
    assert 0 < answered < 36
    assert f"{answered} of 36 requests are answered and kept" in lines[0]
    assert not Store(tmp_path / "store").published("llm_calls")
    done = actionlore(*given, "--llm-max-tokens", 100_000)
    assert done.exit_code == 0, done.stderr
    assert endpoint.num_requests == 36
    assert Store(tmp_path / "store").get("descriptions/stickworld").manifest.num_rows == 36


def test_options_of_waiting_and_of_batches_have_their_effect(actionlore, endpoint):
    given = (*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m", "--llm-concurrency", 1)
    endpoint.behave = lambda number, body: "500"
    failed(actionlore(*given, "--llm-retries", 0), endpoint.url)
    asked = endpoint.num_requests
    assert 0 < asked < 5
    endpoint.behave = lambda number, body: "429_seconds"
    halted(actionlore(*given, "--llm-max-wait", 0.5), endpoint.url)
    assert endpoint.num_requests == asked + 1
    failed(actionlore(*given, "--llm-batch-wait", 1), "no effect without --llm-batch")
    failed(actionlore(*given, "--llm-batch", "--llm-batch-size", 0), "--llm-batch-size 0: ")
    failed(actionlore(*given, "--llm-batch", "--llm-poll", 0), "--llm-poll 0")
    failed(actionlore(*given, "--llm-batch", "--llm-batch-wait", -1), "--llm-batch-wait -1")
    assert endpoint.num_requests == asked + 1


KEY = "sk-grep-me-5kd83hd7Xq2"


def test_the_key_is_nowhere(actionlore, endpoint, tmp_path, capfd):
    """Not in store, ledger or output, even with tracebacks; for Prefect's see `test_watched`."""
    endpoint.error_message = f"Incorrect API key provided: {KEY}."
    given = (*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m", "--llm-retries", 0)
    printed = []
    for status, detail in ((401, "0"), (401, "1"), (500, "1"), ("echo_key", "1"), (None, "1")):
        endpoint.behave = lambda number, body, status=status: status and str(status)
        tracing = {"ACTIONLORE_TRACEBACK": "1"} if detail == "1" else {}
        fresh = ("--set", f"description.sampling.temperature={len(printed) / 100}")
        # Space around the key, as a copied line has it, is no part of it.
        done = actionlore(*given, *fresh, OPENAI_API_KEY=f" {KEY}\n", **tracing)
        sent = endpoint.requests[-1][1]["authorization"]
        assert sent == f"Bearer {KEY}"
        assert (done.exit_code == 0) == (status is None), done.output
        printed += [done.output, *traceback.format_exception(done.exception)]
    captured = capfd.readouterr()
    assert "Incorrect API key" in "".join(printed)
    assert KEY not in "".join((*printed, captured.out, captured.err))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert "ledger.sqlite3" in {path.name for path in files}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_settings_of_the_kinds_reach_the_endpoint(actionlore, endpoint):
    settings = (
        "description.sampling.temperature=0.3",
        "description.prompts.a=distinguishing {label} in a",
    )
    options = [word for setting in settings for word in ("--set", setting)]
    speed = ("--llm-concurrency", 4, "--llm-rpm", 60000, "--llm-tpm", 1e9, "--llm-timeout", 20)
    given = (*ASKED, *options, *speed, "--llm-base-url", endpoint.url, "--llm-model", "m")
    assert actionlore(*given).exit_code == 0
    for _, _, body in endpoint.requests:
        assert (body["temperature"], body["max_completion_tokens"]) == (0.3, 1000)
        assert body["messages"][1]["content"].startswith("distinguishing ")


def test_extraction_errors_come_before_anything_is_asked(actionlore, endpoint, tmp_path):
    def fails(*options, words):
        failed(
            actionlore(*ASKED, *options, "--llm-base-url", endpoint.url, "--llm-model", "m"), *words
        )

    known = "known: anatomy, cooccurrence, description"
    fails("--kind", "haiku", words=("unknown knowledge kind 'haiku'", known))
    fails("--set", "haiku.lines=3", words=("unknown knowledge kind 'haiku'", known))
    fails("--set", "description.x=1", words=("unknown setting description.x", "sampling, prompts"))
    fails("--set", "description.sampling.temperature=-1", words=("sampling.temperature=-1: ",))
    fails("--set", "description.prompts.a=What?", words=("must hold {label} exactly once",))
    fails("--set", "rounds=3", words=("'rounds=3'", "KIND.FIELD=VALUE"))
    fails("--set", "description.a", words=("KIND.FIELD=VALUE",))
    twice = ("--set", "description.sampling={}", "--set", "description.sampling.top_p=1")
    fails(*twice, *twice, words=("description.sampling is given twice",))
    fails("--set", "anatomy.num_phases=2", words=("'anatomy' have no effect", "description"))
    fails("--llm-concurrency", 0, words=("--llm-concurrency 0: ",))
    fails("--llm-max-usd", 1, words=("US dollars", "--llm-prices FILE", "--llm-max-tokens"))
    fails("--llm-prices", "none.json", words=("price table none.json",))
    fails("--min-coverage", 2, words=("--min-coverage 2.0: ",))
    failed(actionlore(*ASKED, "--llm-max-tokens", 9), "no effect on recorded replies")
    for option in ("--llm-timeout", "--llm-deadline"):
        words = (f"{option} has no effect without --llm-base-url and --llm-model",)
        failed(actionlore(*ASKED, option, 9), *words)
    assert endpoint.num_requests == 0
    assert not Store(tmp_path / "store").published("llm_calls")


def test_an_endpoint_has_to_answer_nine_in_ten(actionlore, endpoint, tmp_path):
    endpoint.answer = lambda body: described(body) if "ball" in str(body) else "no JSON"
    given = (*ASKED, "--llm-base-url", endpoint.url, "--llm-model", "m")
    failed(actionlore(*given), "3 of 36 classes", "90.0%", "lower min_coverage")
    assert not Store(tmp_path / "store").published("descriptions")
    asked = endpoint.num_requests
    assert actionlore(*given, "--min-coverage", 0.05).exit_code == 0
    assert endpoint.num_requests == asked
    assert Store(tmp_path / "store").get("descriptions/stickworld").manifest.num_rows == 3
