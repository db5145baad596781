"""The demo world through the flows: the same everywhere, compared over seeds, and reported on."""

import shlex
from dataclasses import replace

import pytest

from artifacts.store import Store
from flows.demos.demo_report import partner_found
from flows.terminal.comparison import markdown
from knowledge.stickworld.generate import StickworldConfig
from training.models.recipe import BatchAxis

WORLD = StickworldConfig(train_per_class=1, val_per_class=1, test_per_class=1)

SHORT = ("optim.epochs=8", "optim.warmup_epochs=1")

BATCH = BatchAxis(without="k0", with_them="k3", sizes=(8,))


@pytest.fixture(scope="module")
def reproduced(tmp_path_factory):
    from flows.demos.reproduce import ReproduceSpec, reproduce_flow
    from training.models.registry import baselines

    root = tmp_path_factory.mktemp("reproduced")
    spec = ReproduceSpec(
        paper="mgdm",
        videos=root / "videos" / "mgdm",
        world=WORLD,
        variants=("k0", "k3"),
        baselines=(*(each.name for each in baselines()), "mgdm_small"),
        settings=SHORT,
        batch=BATCH,
        num_seeds=2,
        at_once=2,
    )
    return root / "artifacts", reproduce_flow(str(root / "artifacts"), spec)


@pytest.mark.torture
def test_two_runs_in_two_directories_agree_to_the_last_key(reproduced, tmp_path):
    from flows.demos.stickworld import mined_world

    store, reports = reproduced
    again = mined_world(str(tmp_path / "artifacts"), tmp_path / "videos", WORLD)
    assert [each.ref for each in again] == [each.ref for each in reports][: len(again)]
    assert all(each.made for each in again)
    for each in again:
        both = [Store(root).get(each.ref) for root in (store, tmp_path / "artifacts")]
        assert both[0].manifest.content_hash == both[1].manifest.content_hash


def test_a_second_call_goes_on_from_what_is_there(reproduced, capsys):
    from flows.demos.reproduce import reproduce
    from training.models.mgdm import recipes

    root = reproduced[0].parent
    few = replace(recipes.TABLE, variants=("k0", "k3"), settings=SHORT, batch=BATCH)
    reproduce(root, "mgdm", 2, table=few, world=WORLD)
    made = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "made " in line]
    assert [ref.split("@")[0] for ref in made] == ["comparison/stickworld-mgdm"]
    table, sentence, by_batch = (root / "mgdm.md").read_text(encoding="utf-8").split("\n\n")
    lines = table.splitlines()
    assert lines[0].endswith("| paper, kinetics400 | paper, hmdb51 | paper, ucf101 |")
    rows = {line.split("|")[1].strip(): line for line in lines[2:] if "CLIP" not in line}
    contexts = {"k0": ("self", "all"), "k3": ("neighbours", "all", "self")}
    trained = [f"{v}{b}, {c}" for b in ("", " batch8") for v in contexts for c in contexts[v]]
    assert list(rows)[-len(trained) :] == trained
    assert rows["k3, neighbours"].endswith("| 86.6 | 81.4 | 97.5 |")
    assert rows["k3, all"].endswith("|  |  |  |")
    assert sentence.startswith("k3 minus k0, top-1 in points")
    head, _, *sizes = by_batch.splitlines()
    assert head == "| batch | batch / classes | as trained | self | all |"
    assert [size.split("|")[1:3] for size in sizes] == [[" 8 ", " 0.22 "], [" 64 ", " 1.78 "]]
    [ref] = [ref for ref in made if ref.startswith("comparison/")]
    values = {
        (row["variant"], row["protocol"]): row["values"]
        for row in Store(root / "artifacts").get(ref).read().to_pylist()
        if row["metric"] == "top1"
    }
    for size, end in zip(sizes, ("_batch8", ""), strict=True):
        pairs = [("neighbours", "self"), ("self", "self"), ("all", "all")]
        for cell, (after, before) in zip(size.split("|")[3:6], pairs, strict=True):
            mined, none = values[f"k3{end}", f"mgdm/{after}"], values[f"k0{end}", f"mgdm/{before}"]
            mean = 100 * (sum(mined) - sum(none)) / 2
            half = 100 * 12.706 * abs((mined[0] - none[0]) - (mined[1] - none[1])) / 2
            assert cell.strip() == f"{mean:+.1f} ± {half:.1f}"


def test_settings_are_refused_before_anything_is_rendered(tmp_path):
    from flows.demos.reproduce import reproduce
    from training.models.registry import tables

    for setting, message in (
        ("optim.epoch=10", "nearest: optim.epochs"),
        ("seed=7", "0 to N - 1 of --seeds N"),
        ("model.negatives.k=3", "the variants k0 and k3 are the same"),
        ("optim.batch_size=8", "the variants k0 and k0_batch8 are the same"),
    ):
        with pytest.raises(ValueError, match=message):
            reproduce(tmp_path, "mgdm", 1, (setting,))
    assert not (tmp_path / "videos").exists()
    with pytest.raises(ValueError, match=f"'sta'; there is {', '.join(tables())}$"):
        reproduce(tmp_path, "sta", 1)


def _row(baseline):
    return baseline.name.replace("_stickworld", "")


def test_every_variant_is_compared_over_all_seeds(reproduced):
    from training.models.registry import baselines

    store, reports = reproduced
    rows = Store(store).get(reports[-1].ref).read().to_pylist()
    found = {(row["variant"], row["protocol"], row["metric"]): row["values"] for row in rows}
    once = {_row(each) for each in baselines() if not each.config.seed_counts}
    assert {"linear_probe", "prototype"} <= once, "the seed changes nothing of a fitted one"
    for (variant, _, _), values in found.items():
        seed_counts = variant not in once
        assert len(values) == (2 if seed_counts else 1), variant
    for variant in ("k0", "k3"):
        for metric in ("top1", "top5", "time_pairs", "posture_pairs"):
            assert (variant, "mgdm/all", metric) in found
    runs = [each.ref for each in reports if each.kind == "training_run"]
    variants = [ref for ref in runs if "-k0-" in ref or "-k3-" in ref]
    assert len(set(variants)) == 4
    frozen = [found[v, "zero_shot/prompt", "top1"] for v in ("k0", "k3")]
    assert frozen[0] == frozen[1]


def test_baselines_stand_beside_the_variants_as_their_recipes_say(reproduced):
    """With the seeds where they count, but without the settings of the table."""
    from training.models.registry import baselines

    store, reports = reproduced
    lines = markdown(Store(store).get(reports[-1].ref), {}).splitlines()
    titles = [line.split("|")[1].split(",")[0].strip() for line in lines[2:]]
    titles = list(dict.fromkeys(title for title in titles if title != "frozen CLIP"))
    others = [_row(each).replace("_", " ") for each in baselines()]
    lone = {_row(each).replace("_", " ") for each in baselines() if not each.config.seed_counts}
    assert titles == [*others, "mgdm small", "k0", "k3", "k0 batch8", "k3 batch8"]
    for line in lines[2:]:
        cells = [cell for cell in line.split("|")[2:-1] if cell.strip()]
        is_lone = line.split("|")[1].strip() in lone
        assert all(cell.endswith("± - ") == is_lone for cell in cells), line
    configs = {
        each.ref.split("/")[1].split("@")[0]: Store(store).get(each.ref).manifest.config
        for each in reports
        if each.kind == "training_run"
    }
    assert "stickworld-mgdm-linear_probe-seed0" in configs
    assert "stickworld-mgdm-linear_probe-seed1" not in configs
    for seed in (0, 1):
        baseline = configs[f"stickworld-mgdm-mgdm_small-seed{seed}"]
        assert (baseline["optim"]["epochs"], baseline["seed"]) == (10, seed)
        variant = configs[f"stickworld-mgdm-k0-seed{seed}"]
        assert (variant["optim"]["epochs"], variant["seed"]) == (8, seed)
        small = configs[f"stickworld-mgdm-k0_batch8-seed{seed}"]
        assert small == variant | {"optim": variant["optim"] | {"batch_size": 8}}


def test_unseen_classes_are_compared_in_a_table_of_their_own(reproduced, capsys):
    from flows.demos.reproduce import ReproduceSpec, reproduce_flow
    from flows.terminal.work import show_accuracies

    root = reproduced[0]
    spec = ReproduceSpec(
        paper="actionclip",
        videos=root.parent / "videos" / "mgdm",
        world=WORLD,
        variants=("shots1",),
        zero_shot="meanp",
        settings=SHORT,
        num_seeds=1,
    )
    store = Store(root)
    *reports, seen, unseen = reproduce_flow(str(root), spec)
    table = markdown(store.get(seen.ref), {"shots1": {"ucf101": 0.5, "hmdb51": None}})
    assert table.splitlines()[0].endswith("| paper, ucf101 | paper, hmdb51 |")
    assert table.splitlines()[-1].startswith("| shots1 |")
    assert table.splitlines()[-1].endswith("| 50.0 |  |")
    lines = markdown(store.get(unseen.ref), {}).splitlines()
    titles = [line.split("|")[1].strip() for line in lines]
    assert titles[2:] == [
        "frozen CLIP, prompt",
        "meanp of other classes",
        "meanp of other classes, WiSE-FT 0.5",
    ]
    runs = {each.manifest.name: each for each in store.published("training_run")}
    trained = store.get(
        runs["stickworld-actionclip-meanp-base-seed0"].manifest.inputs["videos"].ref
    )
    metrics = store.get(next(iter(store.get(unseen.ref).manifest.inputs.values())).ref)
    predictions = store.get(metrics.manifest.inputs["predictions"].ref)
    scored = store.get(predictions.manifest.inputs["videos"].ref)
    names = [
        set(store.get(each.manifest.inputs["classes"].ref).read()["name"].to_pylist())
        for each in (trained, scored)
    ]
    assert not names[0] & names[1]
    assert [len(each) for each in names] == [27, 9]
    show_accuracies([store.get(each.ref) for each in reports if each.kind == "metrics"])
    frozen = [line for line in capsys.readouterr().out.splitlines() if "zero_shot/prompt" in line]
    assert sorted(line.split()[-3] for line in frozen) == ["27", "36", "9"]


@pytest.fixture(scope="module")
def demonstrated(tmp_path_factory):
    """Directory of a small demo, and what it printed."""
    from flows.demos import demo
    from flows.orchestration.console import console

    root = tmp_path_factory.mktemp("demonstrated") / "my demo"
    with pytest.MonkeyPatch.context() as patch, console.capture() as captured:
        patch.setattr(demo, "WORLD", WORLD)
        patch.setattr(demo, "RECIPES", ("mgdm_small", "mgdm_stickworld_k0"))
        patch.setattr(console, "width", 160)
        demo.demo(root)
    return root, captured.get().splitlines()


def test_the_demo_reports_accuracies_pairs_and_negatives(actionlore, demonstrated):
    root, _ = demonstrated
    lines = (root / "report.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("| frozen CLIP | zero_shot/prompt |") for line in lines)
    pairs = [line for line in lines if line.startswith("| open a door / close a door |")]
    assert len(pairs) == 1
    assert pairs[0].count("|") == 2 + 1 + 3 + 2
    store = Store(root / "artifacts")
    assert 0.5 < partner_found(store.get("negatives/stickworld")) <= 1.0
    for each in store.published("training_run"):
        assert any(line.startswith(f"* made `{each.ref}`") for line in lines)
    commands = lines[lines.index("```sh") + 1 : -1]
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "actionlore"
        assert actionlore(*arguments).exit_code == 0


def test_the_demo_ends_with_one_screen_that_says_how_to_go_on(
    actionlore, demonstrated, monkeypatch
):
    root, printed = demonstrated
    screen = printed[printed.index("What the demo found") :]
    assert 24 <= len(screen) <= 40
    assert max(len(line) for line in screen if str(root) not in line) <= 100
    text = "\n".join(screen)
    for name in ("report.md", "hard_negatives.png"):
        assert f"{root / name}" in text
        assert (root / name).exists()
    rows = {line.split("  ")[0]: line.split()[-4:] for line in screen if line.strip()}
    frozen = rows["frozen CLIP"]
    report = (root / "report.md").read_text(encoding="utf-8")
    assert f"| frozen CLIP | zero_shot/prompt | {frozen[0]} | {frozen[1]} |" in report
    for title, name, contexts in (
        ("MGDM, no hard negatives", "mgdm_stickworld_k0", ("self", "all")),
        ("MGDM, 3 hard negatives a video", "mgdm_small", ("neighbours", "all", "self")),
    ):
        for context in contexts:
            row = rows[f"{title}, {context}"]
            assert f"| stickworld-{name}-test | mgdm/{context} | {row[0]} | {row[1]} |" in report
        given = [list(rows).index(f"{title}, {context}") for context in contexts]
        assert given == sorted(given), "the context that is trained comes first"
    start = next(i for i, line in enumerate(screen) if "export ACTIONLORE_STORE=" in line)
    name, value = shlex.split(screen[start])[1].split("=")
    monkeypatch.setenv(name, value)
    commands = [shlex.split(line, comments=True) for line in screen[start + 1 :]]
    assert all(program == "actionlore" for program, *_ in commands)
    for _, *arguments in commands:
        if arguments[0] == "reproduce":
            arguments += ["--help"]
        assert actionlore(*arguments).exit_code == 0


def test_the_picture_shows_videos_beside_those_of_their_hardest_negatives(demonstrated):
    import numpy as np
    from PIL import Image

    from artifacts.views.negatives import negatives_of
    from flows.demos.demo_report import shown_videos
    from knowledge.stickworld.classes import CONFUSABLE_PAIRS
    from knowledge.video.frames import read_clip

    root, _ = demonstrated
    picture = np.asarray(Image.open(root / "hard_negatives.png"))
    negatives = Store(root / "artifacts").get("negatives/stickworld")

    def column_of(video_id, row):
        """Where the middle frame of a video stands in a row; frames may have a border."""
        path = root / "videos" / f"{video_id}.mp4"
        frame = read_clip(path, lambda n: [n // 2], 176).images[0].permute(1, 2, 0).numpy()
        inner = frame[4:-4, 4:-4]
        first = picture.shape[0] - (len(rows) - row) * height
        found = [
            x
            for x in range(picture.shape[1] - 176)
            if (picture[first + 4 : first + 172, x + 4 : x + 172] == inner).all()
        ]
        assert len(found) == 1, video_id
        return found[0]

    rows, height = shown_videos(negatives), 176 + 2 * 17 + 10
    assert [each.split("train_")[1][:-5] for each in rows] == [
        pair.first.replace(" ", "_").replace("-", "_") for pair in CONFUSABLE_PAIRS
    ]
    for row, video_id in enumerate(rows[:2]):
        kept = [each for each in negatives_of(negatives, video_id, 16) if each.rank]
        hardest = sorted(kept, key=lambda each: each.rank)[:4]
        names = [each.name.replace(" ", "_") for each in hardest]
        ids = [f"single/train/train_{name}_0000" for name in names]
        columns = [column_of(each, row) for each in (video_id, *ids)]
        assert columns == sorted(columns)
