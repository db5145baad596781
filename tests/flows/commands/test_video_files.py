"""Frozen CLIP on video files: `classify` and `embed`, without dataset, store or training."""

import json

import numpy as np
import open_clip
import pyarrow.parquet as pq
import pytest
import torch

from knowledge.clip.model import encode_frames, load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.video.frames import read_clip
from knowledge.video.sampling import segment_centres
from tests.clip_families import save_family
from tests.flows.command_line import failed

NAMES = ["walk", "ride a horse", "sit down"]


@pytest.fixture
def clip(weights):
    return ("--clip", "tiny-vit", "--clip-weights", weights, "--frames", 2)


@pytest.fixture
def files(videos):
    return [videos / "test/walk/8.mp4", videos / "test/sit/10.mp4"]


def unit(rows):
    return rows / rows.norm(dim=-1, keepdim=True)


def expected(weights, files, texts):
    """Cosines (N, K) to the letter, from open_clip's own towers."""
    clip = load_clip(ClipSpec(arch="tiny-vit", weights=str(weights)))
    tokenize = open_clip.get_tokenizer("tiny-vit")
    with torch.no_grad():
        rows = [unit(clip.model.encode_text(tokenize(each))).mean(dim=0) for each in texts]
    found = []
    for path in files:
        images = read_clip(path, lambda n: segment_centres(n, 2), 32).images
        found.append(unit(unit(encode_frames(clip, images)[0]).mean(dim=0)))
    return torch.stack(found) @ unit(torch.stack(rows)).T


def told(done, num_top=3):
    assert done.exit_code == 0, done.output
    return [
        {row["name"]: (row["cosine"], row["probability"]) for row in each["top"]}
        for each in json.loads(done.stdout)
    ]


@pytest.mark.parametrize("form", ["txt", "csv", "json"])
def test_classes_of_a_file(actionlore, weights, clip, files, tmp_path, form):
    path = tmp_path / f"classes.{form}"
    lines = {
        "txt": "\n".join([*NAMES, ""]),
        "csv": "\n".join(["id,name", *map("1,{}".format, NAMES)]),
    }
    path.write_text(lines.get(form, json.dumps(NAMES)))
    found = told(actionlore("classify", *files, "--classes", path, *clip, "--json"))
    prompts = [[f"This is a video about {name}"] for name in NAMES]
    cosines = expected(weights, files, prompts)
    chances = (100 * cosines).softmax(dim=1)
    for i, top in enumerate(found):
        assert [*top] == [NAMES[k] for k in cosines[i].argsort(descending=True)]
        for k, name in enumerate(NAMES):
            numbers = (float(cosines[i, k]), float(chances[i, k]))
            assert top[name] == pytest.approx(numbers, abs=1e-5)
    table = actionlore("classify", *files, "--classes", path, *clip, "--top", 1)
    assert next(iter(found[0])) in table.stdout
    assert str(files[1]) in table.stdout.replace("\n", "")


def test_templates_are_averaged_and_descriptions_take_their_place(
    actionlore, weights, clip, files, tmp_path
):
    (tmp_path / "c.txt").write_text("\n".join(NAMES))
    given = ("classify", *files, "--classes", "c.txt", *clip, "--json")
    templates = ("a photo of {label}", "someone who can {label}")
    options = [word for each in templates for word in ("--template", each)]
    found = told(actionlore(*given, *options))
    texts = [[each.replace("{label}", name) for each in templates] for name in NAMES]
    for top, row in zip(found, expected(weights, files, texts), strict=True):
        assert [top[name][0] for name in NAMES] == pytest.approx(row.tolist(), abs=1e-5)
    (tmp_path / "d.csv").write_text("class,text\nWalk,one leg before the other\nwalk,steps\n")
    found = told(actionlore(*given, "--descriptions", "d.csv"))
    texts = [["one leg before the other", "steps"]]
    texts += [[f"This is a video about {name}"] for name in NAMES[1:]]
    for top, row in zip(found, expected(weights, files, texts), strict=True):
        assert [top[name][0] for name in NAMES] == pytest.approx(row.tolist(), abs=1e-5)


def test_classes_of_a_list_or_a_dataset(actionlore, clip, files, registered, tmp_path):
    found = told(actionlore("classify", *files, "--classes", "tiny", *clip, "--json"))
    assert [set(top) for top in found] == [{"walk", "run", "sit", "wave"}] * 2
    found = told(actionlore("classify", *files, "--classes", "ucf101", *clip, "--json"))
    assert [len(top) for top in found] == [5, 5]
    assert not (tmp_path / "store/artifacts/classes/ucf101").exists()


def test_what_cannot_be_classified_is_one_line(actionlore, clip, files, videos, tmp_path):
    broken = videos / "train/walk/broken.mp4"
    done = actionlore("classify", broken, files[0], "--classes", "ucf101", *clip, "--json")
    assert done.exit_code == 0
    assert [sorted(each) for each in json.loads(done.stdout)] == [
        ["error", "video"],
        ["top", "video"],
    ]
    failed(actionlore("classify", broken, "--classes", "ucf101", *clip), "no video could be read")
    given = ("classify", files[0], *clip, "--classes")
    failed(actionlore(*given, "ucf110"), "unknown dataset or class list", "nearest: ucf101")
    failed(actionlore(*given, "none.txt"), "none.txt does not exist")
    (tmp_path / "c.txt").write_text("walk\nrun\nWalk\n")
    failed(actionlore(*given, "c.txt"), "'walk' and 'Walk' are the same class")
    (tmp_path / "c.txt").write_text("walk\n")
    failed(actionlore(*given, "c.txt"), "names 1 classes")
    (tmp_path / "c.txt").write_text(f"walk\n{'run ' * 90}\n")
    failed(actionlore(*given, "c.txt"), "CLIP tokens, at most 77 fit")
    (tmp_path / "d.json").write_text('{"wlak": "steps"}')
    (tmp_path / "c.txt").write_text("walk\nrun\n")
    failed(
        actionlore(*given, "c.txt", "--descriptions", "d.json"), "'wlak' is none", "nearest: walk"
    )
    failed(actionlore(*given, "c.txt", "--template", "plain"), "--template", "must contain {label}")


def test_embeddings_of_files(actionlore, weights, clip, files, videos, tmp_path):
    broken = videos / "train/walk/broken.mp4"
    for name in ("out.npz", "out.parquet"):
        done = actionlore("embed", *files, broken, "-o", name, *clip)
        assert done.exit_code == 0, done.output
        assert "2 videos (2 x 64)" in done.stdout
        assert "broken.mp4" in done.stdout.replace("\n", "")
    loaded = load_clip(ClipSpec(arch="tiny-vit", weights=str(weights)))
    with np.load(tmp_path / "out.npz") as file:
        arrays = dict(file)
    table = pq.read_table(tmp_path / "out.parquet")
    assert arrays["video_id"].tolist() == table["video_id"].to_pylist() == [*map(str, files)]
    assert arrays["features"].shape == (2, 2, 64)
    assert np.array(table["features"].to_pylist()) == pytest.approx(arrays["features"])
    assert np.array(table["frame_pts"].to_pylist()) == pytest.approx(arrays["frame_pts"])
    made_by = json.loads(str(arrays["made_by"]))
    assert made_by == json.loads(table.schema.metadata[b"made_by"])
    assert made_by["clip"] == loaded.identity
    assert made_by["num_frames"] == 2
    for path, rows, pts in zip(files, arrays["features"], arrays["frame_pts"], strict=True):
        seen = read_clip(path, lambda n: segment_centres(n, 2), 32)
        units, norms = encode_frames(loaded, seen.images)
        assert rows == pytest.approx((units * norms[:, None]).numpy(), abs=1e-4)
        assert pts == pytest.approx(seen.pts_s)


def test_embeddings_are_read_by_register_features(actionlore, clip, registered, videos, tmp_path):
    files = sorted(videos.rglob("*.mp4"))
    actionlore("embed", *files, "-o", "out.npz", *clip)
    with np.load(tmp_path / "out.npz") as file:
        arrays = dict(file)
    ids = [f"{each}".removeprefix(f"{videos}/") for each in arrays["video_id"]]
    given = dict(zip([each.removesuffix(".mp4") for each in ids], arrays["features"], strict=True))
    np.savez(tmp_path / "own.npz", **given)
    done = actionlore(
        *("register-features", "--dataset", "tiny", "--features", "own.npz"),
        *(*clip[:4], "--top-k", 2),
    )
    assert done.exit_code == 0, done.output


def test_what_cannot_be_embedded_is_one_line(actionlore, clip, files):
    failed(actionlore("embed", *files, "-o", "out.csv", *clip), "--output", ".npz or .parquet")
    failed(actionlore("embed", *files, "-o", "no/out.npz", *clip), "no is no directory")
    failed(actionlore("embed", *files, *clip), "give --output")
    failed(actionlore("embed", *files, "-o", "o.npz", "--clip", "tiny-vit"), "--clip-weights")


def test_a_directory_holds_its_weights_and_says_how_pictures_are_prepared(
    actionlore, files, tmp_path
):
    arch = save_family(tmp_path / "model", "siglip")
    done = actionlore("embed", files[0], "-o", "out.npz", "--clip", arch, "--frames", 1)
    assert done.exit_code == 0, done.output
    with np.load(tmp_path / "out.npz") as file:
        assert json.loads(str(file["made_by"]))["clip"]["preprocess"].startswith("squash bicubic")
    wrong = actionlore(
        *("embed", files[0], "-o", "out.npz", "--clip", arch, "--clip-weights", "openai")
    )
    failed(wrong, "--clip-weights openai has no effect")
