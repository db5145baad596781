"""The commands `mine` and `export-negatives`, and the comparison of what was mined."""

import pyarrow.parquet as pq
import pytest

from artifacts.store import Store
from tests.flows.command_line import failed
from tests.video_files import write_bad_files


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


def test_mining_nothing_usable_is_an_error_with_the_first_reasons(actionlore, weights, tmp_path):
    write_bad_files(tmp_path / "bad")
    (tmp_path / "videos/walk").mkdir(parents=True)
    (tmp_path / "bad/garbled.mp4").rename(tmp_path / "videos/walk/a.mp4")
    assert actionlore("register", "--dataset", "folder", "--videos", "videos").exit_code == 0
    given = ("mine", "--dataset", "folder", "--videos", "videos", "--frames", 2)
    done = actionlore(*given, "--clip", "tiny-vit", "--clip-weights", weights)
    failed(done, "no usable video in split train", "1 unreadable", "walk/a: damaged")


MINED = ("mine", "--dataset", "tiny", "--frames", "2", "--clip", "tiny-vit", "--clip-weights")


@pytest.fixture
def mine_with(actionlore, registered, videos, weights):
    """Run `mine` on the tiny dataset with further options."""

    def run(*options):
        return actionlore(*MINED, weights, "--videos", videos, *options)

    return run


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_texts_of_a_file_have_the_precision_of_the_frames(mine_with, tmp_path, precision):
    (tmp_path / "more.txt").write_text("jump\nclimb\n")
    done = mine_with("--corpus", "more.txt", "--precision", precision)
    assert done.exit_code == 0, done.stderr
    store = Store(tmp_path / "store")
    made = (store.get("text_embeddings/more"), store.get("frame_embeddings/tiny"))
    assert [each.manifest.config["precision"] for each in made] == [precision, precision]


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
    here = ("mine", "--dataset", "tiny", "--videos", ".")
    failed(actionlore(*here), "give --clip and --clip-weights")
    wrong = (*here, "--clip", "x", "--clip-weights", "y", "--precision", "bf61")
    failed(actionlore(*wrong), "--precision 'bf61': ", "nearest: bf16")
    run = ("mine", "--dataset", "tiny", "--from-run", "training_run/none")
    failed(actionlore(*run), "no artifact training_run/none")
    failed(actionlore(*run, "--frames", "4"), "no effect with --from-run")
    failed(actionlore("inspect", "compare", "videos/tiny"), "compare REF REF")
    failed(actionlore("inspect", "list", "--video", "v"), "--video has no effect")
    failed(
        actionlore("export-negatives", "videos/tiny", "--output", "x.parquet"), "is not a negatives"
    )
    form = ("--output", "x.parquet", "--format", "pairs")
    failed(actionlore("export-negatives", "videos/tiny", *form), "--format 'pairs'", "triplet")
