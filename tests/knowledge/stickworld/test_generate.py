"""The rendered world: true labels, built-in difficulty, and the same bytes every time."""

import csv
import hashlib
import io
import itertools
import math
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from knowledge.datasets.class_lists import class_list
from knowledge.datasets.readers.stickworld import read
from knowledge.datasets.spec import DatasetSpec
from knowledge.stickworld.actions import ACTIONS
from knowledge.stickworld.classes import CLASS_NAMES, CLASSES, CONFUSABLE_PAIRS
from knowledge.stickworld.contact_sheet import contact_sheet
from knowledge.stickworld.drawing.canvas import rotate
from knowledge.stickworld.drawing.figure import Body, Person, Pose
from knowledge.stickworld.drawing.render import NUM_FRAMES, render_clip, set_stage
from knowledge.stickworld.drawing.scene import draw_camera, expose
from knowledge.stickworld.drawing.style import draw_style, generator
from knowledge.stickworld.encode import FPS, encode_mp4
from knowledge.stickworld.generate import StickworldConfig, generate
from knowledge.stickworld.grammar import (
    SCENES,
    ClipPlan,
    Part,
    labels_of,
    multi_plan,
    multi_plans,
    single_plan,
    single_plans,
)

TINY = StickworldConfig(
    seed=3, train_per_class=0, val_per_class=0, test_per_class=0, train_multi=10, test_multi=2
)


ROOT = Path(__file__).parents[3]


def plan_of(name: str, video_id: str = "same") -> ClipPlan:
    return ClipPlan(video_id, "test", (name,), (Part(name),))


def digests(directory: Path) -> dict[str, str]:
    files = sorted(path for path in directory.rglob("*") if path.is_file())
    return {
        path.relative_to(directory).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
    }


def test_classes_are_the_published_ones_and_pairs_use_them_once() -> None:
    assert [entry.class_id for entry in CLASSES] == list(range(1, 37))
    assert class_list("stickworld")["name"].tolist() == list(CLASS_NAMES)
    assert [entry.group for entry in CLASSES] == sorted(
        (entry.group for entry in CLASSES),
        key=["person_movement", "object_manipulation", "person_interaction"].index,
    )
    assert set(ACTIONS) == set(CLASS_NAMES)
    paired = [name for pair in CONFUSABLE_PAIRS for name in pair[:2]]
    assert len(paired) == len(set(paired))
    assert set(paired) <= set(CLASS_NAMES)


def test_hand_reaches_its_target_in_both_views() -> None:
    for front, bend, arm in itertools.product((False, True), (1, -1), (0, 1)):
        person = Person(Body(), Pose(front=front, facing=-1 if not front else 1, lean=20.0))
        x, y = person.joints().shoulders[arm]
        person.reach(arm, (x + 0.12, y + 0.15), bend)
        assert person.joints().hands[arm] == pytest.approx((x + 0.12, y + 0.15), abs=1e-6)


def test_nobody_sinks_into_the_floor_or_leaves_it_without_a_jump() -> None:
    for entry, u in itertools.product(CLASSES, (0.0, 0.3, 0.6, 1.0)):
        stage = set_stage(plan_of(entry.name), draw_style(generator("style", 1)), u)
        for person in stage.people:
            joints = person.joints()
            lowest = min(y for _, y in (*joints.ankles, *joints.toes, joints.pelvis, joints.head))
            assert 0.0 <= lowest <= 0.12 or entry.name in ("jump", "ride a bicycle"), entry.name


def test_frames_depend_on_seed_and_video_id_only() -> None:
    frames = render_clip(plan_of("walk"), 0)
    assert frames.shape == (NUM_FRAMES, 112, 112, 3)
    assert frames.dtype == np.uint8
    assert np.array_equal(frames, render_clip(plan_of("walk"), 0))
    assert not np.array_equal(frames, render_clip(plan_of("walk"), 1))
    assert not np.array_equal(frames, render_clip(plan_of("walk", "other"), 0))


@pytest.mark.parametrize("pair", [p for p in CONFUSABLE_PAIRS if p.reason == "time"], ids=str)
def test_pairs_in_time_are_the_same_frames_in_opposite_order(pair: tuple[str, str, str]) -> None:
    video_id = next(
        f"v{i}" for i in range(99) if draw_style(generator("style", 5, f"v{i}")).choice[1] >= 0.35
    )
    first = render_clip(plan_of(pair[0], video_id), 5)
    second = render_clip(plan_of(pair[1], video_id), 5)
    if "fall down" in pair:
        # Only the people move backwards here, not the camera and its noise.
        style = draw_style(generator("style", 5, video_id))
        for u in (0.0, 0.25, 0.7):
            down, up = (
                set_stage(plan_of(name), style, t)
                for name, t in zip(pair, (u, 1 - u), strict=False)
            )
            assert down.people[0].joints() == up.people[0].joints()
        return
    assert np.array_equal(first, second[::-1])
    assert np.abs(first.astype(int) - second).mean() > 1.0


def test_contact_sheet_shows_every_class_moving_and_looking_different(tmp_path: Path) -> None:
    contact_sheet(tmp_path / "sheet.png", 0, columns=4)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (4 * 678 - 6, 9 * 126)
        pixels = np.asarray(sheet).astype(np.int16)
    strips = {}
    for index, name in enumerate(CLASS_NAMES):
        top, left = index % 9 * 126 + 14, index // 9 * 678
        strips[name] = pixels[top : top + 112, left : left + 672]
    for name, strip in strips.items():
        assert np.abs(strip[:, :112] - strip[:, 224:336]).mean() > 1.0, name
    for (one, first), (two, second) in itertools.combinations(strips.items(), 2):
        assert np.abs(first - second).mean() > 5.0, (one, two)


def test_classes_differ_even_with_equal_looks_and_backgrounds() -> None:
    style = draw_style(generator("style", 2))
    stages = {}
    for name, u in itertools.product(CLASS_NAMES, (0.2, 0.55)):
        stage = set_stage(plan_of(name), style, u)
        props = [*stage.back, *stage.front]
        stages[name, u] = (props, [(person.joints(), person.held) for person in stage.people])
    for name in CLASS_NAMES:
        assert stages[name, 0.2] != stages[name, 0.55], name
    partners = {frozenset(pair[:2]) for pair in CONFUSABLE_PAIRS if pair.reason == "time"}
    for one, two in itertools.combinations(CLASS_NAMES, 2):
        if frozenset((one, two)) not in partners:
            assert stages[one, 0.55] != stages[two, 0.55], (one, two)


def test_scenes_are_truthful_and_cover_every_class() -> None:
    for scene in SCENES:
        labels = labels_of(scene)
        assert 1 <= len(labels) <= 4
        assert set(labels) == {part.name for part in scene.parts}
        for person in (0, 1):
            bodies = [
                part
                for part in scene.parts
                if part.who == person and ACTIONS[part.name].track == "body"
            ]
            spans = sorted((part.start, part.end) for part in bodies)
            assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans)), scene
    assert {name for scene in SCENES for name in labels_of(scene)} == set(CLASS_NAMES)
    assert {len(labels_of(scene)) for scene in SCENES} == {1, 2, 3, 4}


def test_multi_plans_are_drawn_by_seed_and_id() -> None:
    plans = list(multi_plans({"train": 40, "test": 20}, 0))
    assert len({plan.video_id for plan in plans}) == 60
    assert plans[3] == multi_plan("train", 3, 0)
    assert plans != list(multi_plans({"train": 40, "test": 20}, 1))
    assert len(list(single_plans({"train": 2, "val": 1}))) == 108


def test_encoded_clip_has_the_promised_form_and_is_close_to_the_frames() -> None:
    frames = render_clip(single_plan("wave", "test", 0), 0)
    data = encode_mp4(frames)
    assert data == encode_mp4(frames)
    with av.open(io.BytesIO(data)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.average_rate == FPS
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == 32
    assert decoded[0].shape == (112, 112, 3)
    assert np.abs(np.stack(decoded).astype(int) - frames).mean() < 8.0


def test_number_of_workers_changes_no_byte(tmp_path: Path) -> None:
    calls: list[tuple[int, int]] = []
    one = generate(tmp_path / "one", TINY, 1)
    two = generate(tmp_path / "two", TINY, 2, lambda done, total: calls.append((done, total)))
    assert digests(one) == digests(two)
    assert calls[0] == (0, 12)
    assert calls[-1] == (12, 12)
    with (two / "multi.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["file", "label", "split"]
    assert [row["split"] for row in rows] == ["train"] * 10 + ["test"] * 2
    for row in rows:
        assert (two / row["file"]).is_file()
        assert set(row["label"].split("|")) <= set(CLASS_NAMES)
    assert (two / "single.csv").read_text(encoding="utf-8") == "file,label,split\n"
    spec = DatasetSpec(dataset="stickworld", videos=two, labels=str(two / "multi.csv"))
    listed = {clip.path: {CLASS_NAMES[i - 1] for i in clip.class_ids} for clip in read(spec).videos}
    assert listed == {row["file"]: set(row["label"].split("|")) for row in rows}
    assert max(map(len, listed.values())) > 1


def test_a_directory_without_a_world_is_told(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no demo world.*actionlore world"):
        read(DatasetSpec(dataset="stickworld", videos=tmp_path))


_INTERRUPTED = """
import sys
from pathlib import Path
from knowledge.stickworld.generate import StickworldConfig, generate

class Enough(BaseException): ...

def progress(done, total):
    if done:
        raise Enough

if __name__ == "__main__":
    try:
        generate(Path(sys.argv[1]), StickworldConfig(), 2, progress)
    except Enough:
        pass
"""


def test_an_interrupted_call_renders_little_more(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(_INTERRUPTED)
    subprocess.run([sys.executable, script, tmp_path / "world"], check=True, cwd=ROOT)
    assert 8 <= len(list((tmp_path / "world").rglob("*.mp4"))) <= 64  # of 1,152


def test_generate_completes_what_is_missing_and_keeps_the_rest(tmp_path: Path) -> None:
    config = TINY.model_copy(update={"train_multi": 3, "test_multi": 0})
    directory = generate(tmp_path, config)
    before = digests(directory)
    kept, lost, _ = sorted(directory.rglob("*.mp4"))
    stamp = kept.stat().st_mtime_ns
    lost.unlink()
    calls: list[tuple[int, int]] = []
    generate(directory, config, 1, lambda done, total: calls.append((done, total)))
    assert calls[0] == (2, 3)
    assert kept.stat().st_mtime_ns == stamp
    assert digests(directory) == before
    assert not list(directory.rglob(".*"))
    with pytest.raises(ValueError, match="another directory"):
        generate(directory, config.model_copy(update={"seed": 4}))
    with pytest.raises(ValueError, match="workers = 0"):
        generate(directory, config, 0)


def test_generating_needs_no_torch() -> None:
    code = (
        "import sys, knowledge.stickworld.generate\n"
        "sys.exit('torch' in sys.modules or 'cv2' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_exposure_and_turns_are_those_of_their_definitions_to_the_last_bit() -> None:
    camera = draw_camera(generator("camera"), 1, 1.0, 0.1)
    frame = np.random.default_rng(0).uniform(-9, 300, (112, 112, 3)).astype(np.float32)
    before = frame.copy()
    for _ in range(2):
        noise = generator("noise").standard_normal(frame.shape, dtype=np.float32)
        wanted = (frame - 128.0) * camera.contrast + (128.0 + camera.brightness)
        wanted = np.clip(wanted + camera.noise * noise + 0.5, 0.0, 255.0).astype(np.uint8)
        assert (expose(frame, camera, generator("noise")) == wanted).all()
    assert (frame == before).all()
    for degrees in (0.0, -33.25, 90.0, 400.0, -33.25):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        assert rotate((0.3, -0.7), degrees) == (0.3 * c + -0.7 * s, -0.7 * c - 0.3 * s)


def test_bytes_of_known_clips() -> None:
    """What was rendered once is rendered again: frames, with any build of FFmpeg."""
    found = {
        name: hashlib.sha256(render_clip(plan_of(name), 0).tobytes()).hexdigest()[:16]
        for name in ("dance", "close a door", "chase a person")
    }
    assert found == {
        "dance": "d98546bc42e9f698",
        "close a door": "c7f2ddbe5ea784a1",
        "chase a person": "f5603664bbcad885",
    }
