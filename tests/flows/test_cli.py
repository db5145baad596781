"""The command line: quick help, errors of one line, nothing half-written."""

import json
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from artifacts.store import Store
from knowledge import kinds
from knowledge.kind_modules import kind_module, kind_names
from tests.llm_server import LlmServer
from tests.video_files import write_video

HEAVY = ("torch", "faiss", "open_clip", "openai", "prefect", "pandas", "pyarrow", "av")


def test_help_loads_nothing_heavy():
    code = (
        "import sys\nfrom flows.cli import app\n"
        "from typer.testing import CliRunner\n"
        "result = CliRunner().invoke(app, ['--help'])\n"
        "assert result.exit_code == 0 and 'pipeline' in result.output, result.output\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root)
    assert done.stdout.strip() == "[]", done.stderr


def failed(done, *words):
    """The run ended with status 1 and one line that holds all words."""
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in ("error: ", *words):
        assert word in lines[0]
    assert "Traceback" not in done.output


def test_registration_errors(actionlore, videos, tmp_path):
    given = ("register", "--dataset", "folder", "--videos", videos, "--labels")
    failed(actionlore(*given, "none.csv"), "label file none.csv does not exist")
    labels = tmp_path / "labels.csv"
    labels.write_text("file,label\ntrain/walk/0.mp4,fly\n")
    failed(
        actionlore(*given, labels, "--classes", "stickworld"),
        "'fly' is not in class list stickworld",
    )
    failed(
        actionlore("register", "--dataset", "fodler", "--videos", videos),
        "unknown dataset 'fodler'",
    )
    (tmp_path / "tree/walk").mkdir(parents=True)
    failed(
        actionlore("register", "--dataset", "folder", "--videos", tmp_path / "tree"),
        "holds no videos",
    )
    assert not Store(tmp_path / "store").published()


@pytest.fixture
def registered(actionlore, videos):
    done = actionlore("register", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    assert done.exit_code == 0, done.stderr
    assert "videos/tiny@" in done.stdout


def test_mining_errors(actionlore, registered, videos, weights, tmp_path):
    given = ("mine", "--dataset", "tiny", "--videos", videos, "--frames", "2")
    clip = ("--clip", "tiny-vit", "--clip-weights")
    failed(actionlore(*given, *clip, "none.safetensors"), "none.safetensors", "checkpoint path")
    failed(actionlore(*given, *clip, weights, "--corpus", "kinetics"), "unknown", "kinetics400")
    failed(
        actionlore("mine", "--dataset", "tiny2", *given[3:], *clip, weights),
        "no artifact videos/tiny2",
    )
    [path] = (tmp_path / "store/videos").glob("tiny@*/part-00000.parquet")
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 1
    path.write_bytes(data)
    failed(actionlore(*given, *clip, weights), "videos/tiny@", "part-00000.parquet", "run the job")
    assert not Store(tmp_path / "store").published("frame_embeddings")


ASKED = ("extract", "--classes", "stickworld", "--kind", "description")


def described(body):
    label = body["messages"][1]["content"].split("distinguishing ")[1].split(" in a")[0]
    return json.dumps({"description": f"A person doing {label}."})


@pytest.fixture
def endpoint():
    with LlmServer(described) as server:
        yield server


def test_a_refused_key_is_an_error_and_is_written_nowhere(actionlore, endpoint, tmp_path):
    endpoint.behave = lambda number, body: "status"
    endpoint.status = 401
    done = actionlore(
        *(*ASKED, "--base-url", endpoint.url, "--model", "m"),
        OPENAI_API_KEY="sk-very-secret-0123456789",
    )
    failed(done, endpoint.url, "check the API key", "goes on from there")
    assert not Store(tmp_path / "store").published("llm_calls")
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert b"sk-very-secret" not in path.read_bytes()


def test_a_plan_needs_an_endpoint_to_name_but_none_that_answers(actionlore, tmp_path):
    done = actionlore(*ASKED, "--base-url", "http://127.0.0.1:9/v1", "--model", "m", "--plan")
    assert done.exit_code == 0, done.stderr
    [line] = [line for line in done.stdout.splitlines() if line.strip().startswith("description")]
    assert line.split()[1:5] == ["36", "0", "0", "36"]
    assert "price unknown" in line
    assert not (tmp_path / "store/ledger.sqlite3").exists()
    failed(actionlore(*ASKED, "--plan"), "recorded replies cost nothing", "--base-url")


def test_a_reached_cap_is_a_halt_and_the_same_command_goes_on(actionlore, endpoint, tmp_path):
    given = (*ASKED, "--base-url", endpoint.url, "--model", "m", "--concurrency", 1)
    assert actionlore(*given, "--max-tokens", 200).exit_code == 75
    assert endpoint.num_requests == 0
    done = actionlore(*given, "--max-tokens", 2000)
    assert done.exit_code == 75, done.output
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1
    assert lines[0].startswith("stopped: the cap of 2000 tokens leaves no room")
    answered = endpoint.num_requests
    assert 0 < answered < 36
    assert f"{answered} of 36 requests are answered and kept" in lines[0]
    assert not Store(tmp_path / "store").published("llm_calls")
    done = actionlore(*given, "--max-tokens", 100_000)
    assert done.exit_code == 0, done.stderr
    assert endpoint.num_requests == 36
    assert Store(tmp_path / "store").get("descriptions/stickworld").manifest.num_rows == 36


def halted(done, *words):
    """The run stopped resumably with one line that holds all words."""
    assert done.exit_code == 75, done.output
    [line] = [line for line in done.stderr.splitlines() if line.strip()]
    for word in ("stopped: ", *words):
        assert word in line


def last_state(server, flow):
    """State of the newest run of a flow."""
    import httpx

    asked = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_DESC", "limit": 1}
    return httpx.post(f"{server}/flow_runs/filter", json=asked).json()[0]["state"]


def test_a_pipeline_halts_at_a_cap_too_and_its_runs_are_cancelled(
    actionlore, server, endpoint, videos, weights, tmp_path
):
    given = ("pipeline", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    clip = ("--clip", "tiny-vit", "--clip-weights", weights)
    asked = ("--base-url", endpoint.url, "--model", "m", "--concurrency", 1, "--rpm", 1e6)
    options = ("--kind", "description", "--kind-set", "description.sampling.temperature=0.3")
    endpoint.usage = lambda body, text: (1000, 500)
    done = actionlore(*given, *clip, *asked, *options, "--max-tokens", 3000)
    halted(done, "the cap of 3000 tokens leaves no room")
    assert 0 < endpoint.num_requests < 4
    assert endpoint.requests[0][2]["temperature"] == 0.3
    for flow in ("extract", "pipeline"):
        state = last_state(server, flow)
        assert state["type"] == "CANCELLED", state
        assert "the cap of 3000 tokens" in state["message"]
    assert not Store(tmp_path / "store").published("descriptions")
    failed(actionlore(*given, *clip, "--kind-set", "rounds=3"), "--kind-set 'rounds=3'")
    failed(actionlore(*given, *clip, "--max-tokens", 9), "no effect on recorded replies")
    unused = ("--kind-set", "anatomy.sampling.temperature=1")
    failed(actionlore(*given, *clip, *unused), "only cooccurrence, description is asked")


def test_a_pipeline_finds_out_what_is_wrong_before_it_pays(
    actionlore, endpoint, videos, weights, tmp_path
):
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"action {i}\n" for i in range(8)) + "\n\n")
    given = ("pipeline", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    clip = ("--clip", "tiny-vit", "--clip-weights", weights, "--corpus", texts)
    asked = ("--base-url", endpoint.url, "--model", "m")
    failed(actionlore(*given, *clip, *asked), "of 10 rows 2 empty, more than max_unusable=0.01")
    unused = (*given, *clip[:4], *asked, "--corpus-template", "a {label}")
    failed(actionlore(*unused), "--corpus-template, --corpus-max-unusable")
    assert endpoint.num_requests == 0


def test_a_pipeline_mines_with_the_options_of_mine(
    actionlore, server, videos, weights, tmp_path, monkeypatch
):
    seen = []

    def mine(store, spec):
        seen.append(spec)
        raise ValueError("enough")

    monkeypatch.setattr("flows.pipeline.mine", mine)
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"action {i}\n" for i in range(8)) + "\n")
    given = ("pipeline", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    clip = ("--clip", "tiny-vit", "--clip-weights", weights, "--corpus", texts)
    how = ("--precision", "fp32", "--workers", 1, "--decode-limit", 7)
    corpus = ("--corpus-template", "a {label}", "--corpus-max-unusable", 0.2)
    failed(actionlore(*given, *clip, *how, *corpus), "enough")
    [spec] = seen
    assert (spec.encoding.precision, spec.encoding.num_workers) == ("fp32", 1)
    assert spec.encoding.deadline_s == 7
    assert (spec.corpus_texts.template, spec.corpus_texts.max_unusable) == ("a {label}", 0.2)
    registered = Store(tmp_path / "store").get("videos/tiny")
    assert registered.manifest.config["deadline_s"] == 7


def test_a_kind_that_fails_or_halts_keeps_no_other_from_being_asked(
    actionlore, endpoint, server, tmp_path
):
    both = ("extract", "--classes", "stickworld", "--kind", "cooccurrence", "--kind", "description")
    given = (*both, "--base-url", endpoint.url, "--model", "m", "--set", "cooccurrence.rounds=1")

    def answer(body):
        return described(body) if "distinguishing" in str(body) else "no JSON"

    endpoint.answer = answer
    done = actionlore(*given)
    failed(done, "llm_calls/stickworld-cooccurrence@", "not one valid reply")
    assert "kept descriptions/stickworld@" in done.stdout
    assert last_state(server, "extract")["type"] == "FAILED"
    store = Store(tmp_path / "store")
    assert store.get("descriptions/stickworld").manifest.num_rows == 36
    assert not store.published("cooccurrence")
    # Of a failure and a halt, the failure is raised and the halt is printed.
    capped = ("--max-tokens", 1, "--set", "description.sampling.temperature=0.3")
    done = actionlore(*given, *capped)
    failed(done, "llm_calls/stickworld-cooccurrence@")
    assert "description: the cap of 1 tokens" in done.stdout.replace("\n", " ")


def test_a_kind_without_a_question_is_left_out(actionlore, endpoint, tmp_path):
    (tmp_path / "one/fly to Mars").mkdir(parents=True)
    write_video(tmp_path / "one/fly to Mars/1.mp4", 4)
    given = ("--dataset", "folder", "--videos", "one", "--name", "one")
    assert actionlore("register", *given).exit_code == 0
    given = ("extract", "--classes", "one", "--kind", "cooccurrence", "--kind", "description")
    asked = ("--base-url", endpoint.url, "--model", "m")
    for options in (("--plan",), ()):
        done = actionlore(*given, *asked, *options)
        assert done.exit_code == 0, done.output
        assert "cooccurrence: the classes of classes/one@" in done.stdout
        assert "lead to no question" in done.stdout.replace("\n", " ")
    assert endpoint.num_requests == 1
    assert Store(tmp_path / "store").get("descriptions/one").manifest.num_rows == 1


def test_options_of_waiting_and_of_batches_have_their_effect(actionlore, endpoint):
    given = (*ASKED, "--base-url", endpoint.url, "--model", "m", "--concurrency", 1)
    endpoint.behave = lambda number, body: "500"
    failed(actionlore(*given, "--retries", 0), endpoint.url)
    asked = endpoint.num_requests
    assert 0 < asked < 5
    endpoint.behave = lambda number, body: "429_seconds"
    halted(actionlore(*given, "--max-wait", 0.5), endpoint.url)
    assert endpoint.num_requests == asked + 1
    failed(actionlore(*given, "--batch-wait", 1), "no effect without --batch")
    failed(actionlore(*given, "--batch", "--batch-size", 0), "batch.max_requests=0")
    failed(actionlore(*given, "--batch", "--poll", 0), "batch.poll_s=0")
    failed(actionlore(*given, "--batch", "--batch-wait", -1), "batch.max_wait_s=-1")
    assert endpoint.num_requests == asked + 1


KEY = "sk-grep-me-5kd83hd7Xq2"


def test_the_key_is_nowhere(actionlore, endpoint, server, prefect_home, tmp_path, capfd):
    """Not in store, ledger, Prefect's database and logs, or output, even with tracebacks."""
    import httpx

    endpoint.error_message = f"Incorrect API key provided: {KEY}."
    given = (*ASKED, "--base-url", endpoint.url, "--model", "m", "--retries", 0)
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
    for _ in range(60):
        found = {"level": {"ge_": 40}}
        logs = httpx.post(f"{server}/logs/filter", json={"logs": found, "limit": 200}).json()
        if any("Incorrect API key" in each["message"] for each in logs):
            break
        time.sleep(0.25)
    else:
        pytest.fail("Prefect logged no error")
    captured = capfd.readouterr()
    assert "Incorrect API key" in "".join(printed)
    assert KEY not in "".join((*printed, captured.out, captured.err))
    kept = (*tmp_path.rglob("*"), *prefect_home.rglob("*"))
    files = [path for path in kept if path.is_file()]
    assert {"ledger.sqlite3", "prefect.db"} <= {path.name for path in files}
    for path in files:
        assert KEY.encode() not in path.read_bytes(), path


def test_settings_of_the_kinds_reach_the_endpoint(actionlore, endpoint):
    settings = (
        "description.sampling.temperature=0.3",
        "description.prompts.a=distinguishing {label} in a",
    )
    options = [word for setting in settings for word in ("--set", setting)]
    speed = ("--concurrency", 4, "--rpm", 60000, "--tpm", 1e9, "--timeout", 20)
    given = (*ASKED, *options, *speed, "--base-url", endpoint.url, "--model", "m")
    assert actionlore(*given).exit_code == 0
    for _, _, body in endpoint.requests:
        assert (body["temperature"], body["max_completion_tokens"]) == (0.3, 1000)
        assert body["messages"][1]["content"].startswith("distinguishing ")


def test_extraction_errors_come_before_anything_is_asked(actionlore, endpoint, tmp_path):
    def fails(*options, words):
        failed(actionlore(*ASKED, *options, "--base-url", endpoint.url, "--model", "m"), *words)

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
    fails("--concurrency", 0, words=("asking.send.limits.concurrency=0",))
    fails("--max-usd", 1, words=("US dollars", "--prices FILE", "--max-tokens"))
    fails("--prices", "none.json", words=("price table none.json",))
    fails("--min-coverage", 2, words=("min_coverage=2",))
    failed(actionlore(*ASKED, "--max-tokens", 9), "no effect on recorded replies")
    for option in ("--timeout", "--deadline"):
        failed(actionlore(*ASKED, option, 9), "--timeout and --deadline have no effect")
    assert endpoint.num_requests == 0
    assert not Store(tmp_path / "store").published("llm_calls")


def test_an_endpoint_has_to_answer_nine_in_ten(actionlore, endpoint, tmp_path):
    endpoint.answer = lambda body: described(body) if "ball" in str(body) else "no JSON"
    given = (*ASKED, "--base-url", endpoint.url, "--model", "m")
    failed(actionlore(*given), "3 of 36 classes", "90.0%", "lower min_coverage")
    assert not Store(tmp_path / "store").published("descriptions")
    asked = endpoint.num_requests
    assert actionlore(*given, "--min-coverage", 0.05).exit_code == 0
    assert endpoint.num_requests == asked
    assert Store(tmp_path / "store").get("descriptions/stickworld").manifest.num_rows == 3


def test_what_was_never_recorded_is_a_hint(actionlore, tmp_path):
    (tmp_path / "videos/fly to Mars").mkdir(parents=True)
    write_video(tmp_path / "videos/fly to Mars/1.mp4", 4)
    given = ("--dataset", "folder", "--videos", "videos", "--name", "space")
    assert actionlore("register", *given).exit_code == 0
    done = actionlore("extract", "--classes", "space", "--kind", "anatomy", "--kind", "description")
    assert done.exit_code == 0, done.stderr
    for kind in ("anatomy", "description"):
        assert f"{kind}: nothing is recorded about the classes of classes/space@" in done.stdout
    assert not Store(tmp_path / "store").published("anatomy")


FOURTH_KIND = """
from typing import ClassVar
import pyarrow as pa
from pydantic import BaseModel
from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Outcome
from knowledge.extraction import parse
from knowledge.llm.messages import ChatRequest, Message
from knowledge.question import Question

class Reply(BaseModel):
    colour: str

class CONFIG(Question):
    kind: ClassVar[str] = "colour"
    reply_type: ClassVar[type[BaseModel]] = Reply
    palette: int = 3

    def requests(self, classes):
        return [
            ChatRequest(question="colour", class_id=each.class_id, class_name=each.name,
                        messages=(Message(role="user", content=f"{self.palette} {each.name}"),))
            for each in classes
        ]

def build(store, classes, calls, config, *, min_coverage=0.0, videos=None):
    provenance = Provenance(kind="descriptions", name=classes.ref.name,
                            config=config.model_dump(), inputs=dict(inputs_of(calls=calls)))
    rows = [
        {"class_id": item.class_id, "prompt_id": "colour", "text": item.reply.colour,
         "n_tokens": 3, "model": "m"}
        for item in parse(calls, config, Reply).replies
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("descriptions").arrow())
    return Outcome(store.publish(provenance, table, {}), made=True)
"""


def test_a_kind_is_one_file(actionlore, endpoint, tmp_path, monkeypatch):
    (tmp_path / "more").mkdir()
    (tmp_path / "more/colour.py").write_text(FOURTH_KIND)
    monkeypatch.setattr(kinds, "__path__", [*kinds.__path__, str(tmp_path / "more")])
    monkeypatch.delitem(sys.modules, "knowledge.kinds.colour", raising=False)
    assert kind_names() == ("anatomy", "colour", "cooccurrence", "description")
    endpoint.answer = lambda body: json.dumps({"colour": body["messages"][0]["content"]})
    done = actionlore(
        *("extract", "--classes", "stickworld", "--kind", "colour", "--set", "colour.palette=8"),
        *("--base-url", endpoint.url, "--model", "m"),
    )
    assert done.exit_code == 0, done.output
    assert "llm_calls/stickworld-colour@" in done.stdout
    texts = Store(tmp_path / "store").get("descriptions/stickworld").read()["text"].to_pylist()
    assert texts[:2] == ["8 stand", "8 walk"]
    failed(actionlore(*ASKED, "--set", "colour.x=8"), "unknown setting colour.x", "palette")


@pytest.mark.parametrize("name", kind_names())
def test_every_kind_is_called_like_its_file(name):
    assert kind_module(name).CONFIG.kind == name
    assert callable(kind_module(name).build)


def test_other_wrong_arguments(actionlore, registered, videos):
    failed(
        actionlore("inspect", "show", "videos/nothing"),
        "no artifact videos/nothing",
        "videos/tiny@",
    )
    failed(actionlore("inspect", "shwo"), "'shwo'")
    failed(actionlore("train", "--dataset", "tiny"), "no artifact negatives/tiny")
    failed(actionlore("train", "--dataset", "tiny", "--recipe", "mgmd"), "unknown recipe 'mgmd'")


def test_inspection(actionlore):
    assert actionlore("extract", "--classes", "stickworld").exit_code == 0
    shown = actionlore("inspect", "cooccurrence/stickworld")
    assert "co-occurs with" in shown.stdout
    assert "5 of 5" in shown.stdout
    tree = actionlore("inspect", "lineage", "descriptions/stickworld").stdout
    assert "calls: llm_calls/stickworld-description@" in tree
    assert "artifacts are what their manifests say" in actionlore("inspect", "verify").stdout
    listed = actionlore("inspect", "list").stdout
    assert "cooccurrence/stickworld@" in listed
    assert "anatomy/stickworld@" in listed
    assert "mgdm_kinetics400_k7" in actionlore("recipes").stdout
    assert "0 orphans removed" in actionlore("gc").stdout


MINED = ("mine", "--dataset", "tiny", "--frames", "2", "--clip", "tiny-vit", "--clip-weights")


@pytest.fixture
def mine_with(actionlore, registered, videos, weights):
    """Run `mine` on the tiny dataset with further options."""

    def run(*options):
        return actionlore(*MINED, weights, "--videos", videos, *options)

    return run


def test_mining_in_a_file_with_filters_then_compare_and_export(actionlore, mine_with, tmp_path):
    lines = [f"a person does [thing] {i}" for i in range(20)]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    done = mine_with("--corpus", "lines.txt", "--top-k", 4)
    assert done.exit_code == 0, done.stderr
    assert "text_embeddings/lines@" in done.stdout
    assert "24 texts encoded" in done.stdout
    store = Store(tmp_path / "store")
    first = store.get("negatives/tiny")
    filters = ("--filter", "skip_ranks=2", "--filter", "max_relative_cosine=0.999")
    done = mine_with("--corpus", "lines.txt", "--top-k", 4, *filters)
    assert done.exit_code == 0, done.stderr
    assert "0 texts encoded" in done.stdout
    second = store.get("negatives/tiny")
    assert second.manifest.config["skip_ranks"] == 2
    shown = actionlore("inspect", "show", second.ref).stdout
    assert "skip_ranks" in shown
    assert "a person does [thing]" in shown
    compared = actionlore("inspect", "compare", first.ref, second.ref).stdout
    assert "config skip_ranks" in compared
    assert "texts that are hard no more" in compared
    done = actionlore("export-negatives", first.ref, "--output", "out.parquet", "--corpus", "union")
    assert done.exit_code == 0, done.stderr
    assert "columns anchor, positive, negative" in done.stdout
    table = pq.read_table("out.parquet")
    assert table.num_rows == 4 * 8
    assert set(table["negative"].to_pylist()) & set(lines)


def test_mining_again_with_a_trained_run(actionlore, mine_with, tmp_path):
    assert mine_with("--top-k", 2).exit_code == 0
    small = ["optim.epochs=1", "optim.warmup_epochs=0", "model.video_blocks=1"]
    settings = ["data.num_frames=2", "model.negatives.k=2", *small]
    sets = [word for setting in settings for word in ("--set", setting)]
    train = ("train", "--dataset", "tiny", *sets)
    assert actionlore(*train).exit_code == 0
    store = Store(tmp_path / "store")
    run = store.get("training_run/tiny-mgdm_small")
    done = actionlore("mine", "--dataset", "tiny", "--from-run", run.ref, "--top-k", 2)
    assert done.exit_code == 0, done.stderr
    negatives = store.get("negatives/tiny")
    assert negatives.manifest.inputs["run"].content_hash == run.manifest.content_hash
    done = actionlore(*train, "--name", "again")
    assert done.exit_code == 0, done.stderr
    again = store.get("training_run/again").manifest.inputs
    assert again["negatives"].content_hash == negatives.manifest.content_hash
    assert again["frames"] == run.manifest.inputs["frames"]
    tree = actionlore("inspect", "lineage", "training_run/again").stdout
    assert f"run: {run.ref}" in tree


def test_mining_and_export_errors(actionlore, mine_with, tmp_path):
    failed(mine_with("--filter", "margin=1"), "--filter 'margin=1'", "min_margin")
    failed(mine_with("--filter", "max_rank=40"), "max_rank=40 has no effect")
    failed(mine_with("--corpus", "none.txt"), "corpus file none.txt does not exist")
    failed(mine_with("--corpus-template", "a {label}"), "no corpus is a file of texts")
    failed(actionlore("mine", "--dataset", "tiny"), "give --videos", "--from-run")
    failed(actionlore("mine", "--dataset", "tiny", "--clip", "x"), "belong together")
    run = ("mine", "--dataset", "tiny", "--from-run", "training_run/none")
    failed(actionlore(*run), "no artifact training_run/none")
    failed(actionlore(*run, "--frames", "4"), "no effect with --from-run")
    failed(actionlore("inspect", "compare", "videos/tiny"), "compare REF REF")
    failed(actionlore("inspect", "list", "--video", "v"), "--video has no effect")
    failed(
        actionlore("export-negatives", "videos/tiny", "--output", "x.parquet"), "is not a negatives"
    )
    form = ("--output", "x.parquet", "--format", "pairs")
    failed(actionlore("export-negatives", "videos/tiny", *form), "format='pairs'", "triplet")
