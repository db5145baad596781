"""The command `pipeline`: the options of its commands, and what stops it before it pays."""

from artifacts.store import Store
from flows.orchestration.specs.pipeline import PipelineSpec
from flows.pipeline import mining_spec
from knowledge.embedding.config import FrameConfig
from tests.flows.command_line import failed, halted


def test_a_pipeline_halts_at_a_cap_too(actionlore, endpoint, videos, weights, tmp_path):
    given = ("pipeline", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    clip = ("--clip", "tiny-vit", "--clip-weights", weights)
    asked = (
        "--llm-base-url",
        endpoint.url,
        "--llm-model",
        "m",
        "--llm-concurrency",
        1,
        "--llm-rpm",
        1e6,
    )
    options = ("--kind", "description", "--kind-set", "description.sampling.temperature=0.3")
    endpoint.usage = lambda body, text: (1000, 500)
    done = actionlore(*given, *clip, *asked, *options, "--llm-max-tokens", 3000)
    halted(done, "the cap of 3000 tokens leaves no room")
    assert 0 < endpoint.num_requests < 4
    assert endpoint.requests[0][2]["temperature"] == 0.3
    assert not Store(tmp_path / "store").published("descriptions")
    failed(actionlore(*given, *clip, "--kind-set", "rounds=3"), "--kind-set 'rounds=3'")
    failed(actionlore(*given, *clip, "--llm-max-tokens", 9), "no effect on recorded replies")
    unused = ("--kind-set", "anatomy.sampling.temperature=1")
    failed(actionlore(*given, *clip, *unused), "only cooccurrence, description is asked")


def test_a_pipeline_finds_out_what_is_wrong_before_it_pays(
    actionlore, endpoint, videos, weights, tmp_path
):
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"action {i}\n" for i in range(8)) + "\n\n")
    given = ("pipeline", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    clip = ("--clip", "tiny-vit", "--clip-weights", weights, "--corpus", texts)
    asked = ("--llm-base-url", endpoint.url, "--llm-model", "m")
    failed(actionlore(*given, *clip, *asked), "of 10 rows 2 empty, more than max_unusable=0.01")
    unused = (*given, *clip[:4], *asked, "--corpus-template", "a {label}")
    failed(actionlore(*unused), "--corpus-template, --corpus-max-unusable")
    done = actionlore(*given, *clip[:4], *asked, "--set", "model.negatives.k=99")
    failed(done, "a video has at most 3 negatives; set model.negatives.k=3, or name more corpora")
    made = [line.split("@")[0] for line in done.stdout.splitlines() if "@" in line]
    assert made == ["made  classes/tiny", "made  videos/tiny"]
    assert endpoint.num_requests == 0


def test_a_pipeline_mines_with_the_options_of_mine(actionlore, videos, weights, tmp_path):
    texts = tmp_path / "texts.txt"
    texts.write_text("".join(f"action {i}\n" for i in range(8)) + "\n")
    given = ("pipeline", "--dataset", "folder", "--videos", videos, "--name", "tiny")
    clip = ("--clip", "tiny-vit", "--clip-weights", weights, "--corpus", texts)
    how = ("--precision", "fp32", "--workers", 1, "--decode-limit", 7)
    corpus = ("--corpus-template", "a {label}", "--corpus-max-unusable", 0.2)
    done = actionlore(*given, *clip, *how, *corpus, "--set", "optim.epochs=2")
    assert done.exit_code == 0, done.output
    store = Store(tmp_path / "store")
    frames = store.get("frame_embeddings/tiny").manifest
    assert (frames.config["precision"], frames.report["num_workers"]) == ("fp32", 1)
    embedded = store.get("text_embeddings/texts").manifest.config
    assert (embedded["template"], embedded["max_unusable"]) == ("a {label}", 0.2)
    assert store.get("videos/tiny").manifest.config["deadline_s"] == 7
    assert store.published("negatives")


def test_a_pipeline_decodes_as_long_for_mining_as_for_registration(tmp_path):
    values = {
        "dataset": {"dataset": "folder", "videos": tmp_path, "name": "tiny"},
        "clip": {"arch": "stickworld-clip", "weights": "bundled"},
        "encoding": {"deadline_s": 7},
    }
    spec = PipelineSpec.model_validate(values)
    assert mining_spec(spec, "tiny", FrameConfig(), {}).encoding.deadline_s == 7
