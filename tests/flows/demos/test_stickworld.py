"""The demo world through the flows: the same everywhere, compared over seeds, and reported on."""

import shlex
from dataclasses import replace

import pytest

from artifacts.store import Store
from flows.demos.demo_report import partner_found
from flows.terminal.comparison import markdown
from knowledge.stickworld.generate import StickworldConfig

WORLD = StickworldConfig(train_per_class=1, val_per_class=1, test_per_class=1)

SHORT = ("optim.epochs=8", "optim.warmup_epochs=1")


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
        num_seeds=2,
        at_once=2,
    )
    return root / "artifacts", reproduce_flow(str(root / "artifacts"), spec)


def test_two_runs_in_two_directories_agree_to_the_last_key(reproduced, tmp_path):
    from flows.demos.stickworld import mined_world

    store, reports = reproduced
    again = mined_world(str(tmp_path / "artifacts"), tmp_path / "videos", WORLD)
    assert [each.ref for each in again] == [each.ref for each in reports][: len(again)]
    assert all(each.made for each in again)
    for each in again:
        both = [Store(root).get(each.ref) for root in (store, tmp_path / "artifacts")]
        assert both[0].manifest.content_hash == both[1].manifest.content_hash


def test_a_second_call_goes_on_from_what_is_there(reproduced, monkeypatch, capsys):
    from flows.demos import reproduce
    from training.models.mgdm import recipes

    root = reproduced[0].parent
    few = replace(recipes.TABLE, variants=("k3",), settings=SHORT)
    monkeypatch.setattr(recipes, "TABLE", few)
    monkeypatch.setattr(reproduce, "world_of", lambda table: WORLD)
    reproduce.reproduce(root, "mgdm", 2)
    made = [line.split()[1] for line in capsys.readouterr().out.splitlines() if "made " in line]
    assert [ref.split("@")[0] for ref in made] == ["comparison/stickworld-mgdm"]
    lines = (root / "mgdm.md").read_text(encoding="utf-8").splitlines()
    assert lines[0].endswith("| paper, kinetics400 | paper, hmdb51 | paper, ucf101 |")
    assert lines[-1].startswith("| k3 |")
    assert lines[-1].endswith("| 86.6 | 81.4 | 97.5 |")


def test_settings_are_refused_before_anything_is_rendered(tmp_path):
    from flows.demos.reproduce import check_settings, reproduce
    from training.models.registry import tables

    for paper, known in tables().items():
        check_settings(paper, known.variants, known.settings)
    for setting, message in (
        ("optim.epoch=10", "nearest: optim.epochs"),
        ("seed=7", "0 to N - 1 of --seeds N"),
        ("model.negatives.k=3", "the variants k0 and k3 are the same"),
    ):
        with pytest.raises(ValueError, match=message):
            reproduce(tmp_path, "mgdm", 1, (setting,))
    assert not (tmp_path / "videos").exists()
    with pytest.raises(ValueError, match="there is actionclip, mgdm"):
        reproduce(tmp_path, "sta", 1)


def test_every_variant_is_compared_over_all_seeds(reproduced):
    store, reports = reproduced
    rows = Store(store).get(reports[-1].ref).read().to_pylist()
    found = {(row["variant"], row["protocol"], row["metric"]): row["values"] for row in rows}
    for (variant, _, _), values in found.items():
        is_fitted = variant.startswith(("linear_probe", "prototype"))
        assert len(values) == (1 if is_fitted else 2), "the seed changes nothing of a fitted one"
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
    titles = [line.split("|")[1].strip() for line in lines[2:]]
    others = [each.name.replace("_stickworld", "").replace("_", " ") for each in baselines()]
    assert all("frozen CLIP" in title for title in titles[: -3 - len(others)])
    assert titles[-3 - len(others) :] == [*others, "mgdm small", "k0", "k3"]
    for line in lines[2:]:
        cells = [cell for cell in line.split("|")[2:-1] if cell.strip()]
        lone = line.split("|")[1].strip() in others
        assert all(cell.endswith("± - ") == lone for cell in cells), line
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


def test_the_demo_reports_accuracies_pairs_and_negatives(actionlore, tmp_path, monkeypatch):
    from flows.demos import demo

    monkeypatch.setattr(demo, "WORLD", WORLD)
    monkeypatch.setattr(demo, "RECIPES", ("mgdm_small",))
    demo.demo(tmp_path / "my demo")
    lines = (tmp_path / "my demo" / "report.md").read_text(encoding="utf-8").splitlines()
    assert any(line.startswith("| frozen CLIP | zero_shot/prompt |") for line in lines)
    pairs = [line for line in lines if line.startswith("| open a door / close a door |")]
    assert len(pairs) == 1
    assert pairs[0].count("|") == 2 + 1 + 1
    store = Store(tmp_path / "my demo" / "artifacts")
    assert 0.5 < partner_found(store.get("negatives/stickworld")) <= 1.0
    commands = lines[lines.index("```sh") + 1 : -1]
    for command in commands:
        program, *arguments = shlex.split(command)
        assert program == "actionlore"
        assert actionlore(*arguments).exit_code == 0
