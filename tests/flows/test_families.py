"""A model that is no plain CLIP goes the whole way: mined, trained on, predicted with, exported."""

import json

import pytest
import torch

from artifacts.store import Store
from knowledge.clip.model import load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.video.frames import read_clip
from knowledge.video.sampling import segment_centres
from tests.clip_families import save_family
from tests.flows.command_line import failed
from training.inference.export import load


def succeeded(done):
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.parametrize("family", ["siglip", "coca"])
def test_files_are_seen_as_mined_also_after_export(
    actionlore, registered, videos, tmp_path, family
):
    clip = ("--clip", save_family(tmp_path / "model", family))
    succeeded(
        actionlore(
            *("mine", "--dataset", "tiny", "--videos", videos, "--frames", 2, *clip),
            *("--precision", "fp32", "--top-k", 1),
        )
    )
    frames = Store("store").get("frame_embeddings/tiny").manifest.config["clip"]
    assert frames["arch"] == "local-dir:model"
    assert frames["preprocess"].split()[0] in ("squash", "longest", "shortest")
    recipe = ("--recipe", "prototype", "--set", "data.num_frames=2", "--name", "run")
    succeeded(actionlore("train", "--dataset", "tiny", *recipe))
    path = videos / "test/walk/8.mp4"
    [found] = json.loads(succeeded(actionlore("predict", "run", path, *clip, "--json")))
    rows = Store("store").get("predictions/run-test").read().to_pylist()
    row = next(r for r in rows if r["video_id"] == "test/walk/8" and "zero" not in r["protocol"])
    chances = [each["probability"] for each in found["top"]]
    assert [each["class_id"] for each in found["top"]] == row["top_class_ids"]
    assert chances == pytest.approx(row["top_probabilities"], abs=2e-3)
    succeeded(actionlore("export", "run", "--output", "out", *clip))
    kept = load(tmp_path / "out")
    clip_of_it = load_clip(ClipSpec.model_validate({"arch": clip[1]}))
    wanted = (clip_of_it.image_size, None, clip_of_it.preprocess.resizing)
    seen = read_clip(path, lambda n: segment_centres(n, 2), *wanted).images
    assert torch.equal(kept.read(path)[0], seen)
    exported = kept.top(path, num_top=len(chances))
    assert [each["probability"] for each in exported] == pytest.approx(chances, abs=1e-5)
    if family == "siglip":
        shown = actionlore("predict", "run", path, *clip, "--views", "1x3")
        failed(shown, "3 crops of a picture", "give views of one crop, such as 1x1")


def test_methods_that_need_clips_own_towers_say_so(actionlore, registered, videos, tmp_path):
    given = ("train", "--dataset", "tiny", "--set", "data.num_frames=2")
    given = (*given, "--set", "optim.epochs=1", "--set", "optim.warmup_epochs=0")
    of_videos = ("--videos", videos, "--set", "data.features=videos", "--set", "data.short_side=64")
    coca = ("--clip", save_family(tmp_path / "coca", "coca"))
    eva = ("--clip", save_family(tmp_path / "eva", "mobileclip"))
    shift = (*given, *of_videos, "--recipe", "actionclip_stickworld_shift")
    failed(actionlore(*shift, *coca), "need open_clip's vision transformer", "pools by attention")
    failed(actionlore(*shift, *eva), "this tower is TimmModel; choose another --clip")
    texts = (*given, *of_videos, "--recipe", "actionclip_stickworld_meanp")
    failed(actionlore(*texts, *eva), "CLIP's own text tower", "CustomTextCLIP", "choose another")
