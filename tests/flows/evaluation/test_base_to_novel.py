"""From base to novel classes by commands alone, on lists as evaluation protocols publish them."""

import csv
import json
from statistics import harmonic_mean as expected_mean

import pytest

from artifacts.store import Store
from knowledge.stickworld.classes import CLASSES
from tests.flows.command_line import failed

PARTS = {"base": [2, 3, 6, 8], "novel": [4, 5, 7]}
"""Class ids of the demo world."""
CLIP = ("--clip", "stickworld-clip", "--clip-weights", "bundled", "--precision", "fp32")
QUICK = ("data.num_frames=4", "optim.epochs=2", "optim.warmup_epochs=1", "model.video.layers=1")


def write_lists(world, directory):
    """`base_train.txt`, `base_val.txt`, `novel_val.txt` and the class lists of both parts."""
    directory.mkdir()
    names = {each.class_id: each.name for each in CLASSES}
    with (world / "single.csv").open(newline="") as file:
        clips = list(csv.DictReader(file))
    for part, ids in PARTS.items():
        labels = {names[class_id]: label for label, class_id in enumerate(ids)}
        rows = [f"{label},{name}" for name, label in labels.items()]
        (directory / f"{part}.csv").write_text("\n".join(["id,name", *rows]) + "\n")
        for split, kind in (("train", "train"), ("test", "val")):
            lines = [
                f"{clip['file']} {labels[clip['label']]}"
                for clip in clips
                if clip["label"] in labels and clip["split"] == split
            ]
            (directory / f"{part}_{kind}.txt").write_text("\n".join(lines))


@pytest.fixture
def command(actionlore):
    def run(*arguments):
        done = actionlore(*arguments)
        assert done.exit_code == 0, done.output
        return done.stdout

    return run


def test_from_base_to_novel_classes(actionlore, command, tmp_path):
    world = tmp_path / "world"
    sizes = ("train_per_class=2", "val_per_class=0", "test_per_class=2")
    command("world", world, *(word for size in sizes for word in ("--set", size)))
    write_lists(world, tmp_path / "lists")
    listed = ("register", "--dataset", "lists", "--videos", world)
    base = ("--list", "train=lists/base_train.txt", "--list", "test=lists/base_val.txt")
    command(*listed, *base, "--classes", "lists/base.csv", "--name", "base")
    novel = ("--list", "test=lists/novel_val.txt", "--classes", "lists/novel.csv")
    command(*listed, *novel, "--name", "novel")
    mine = ("mine", "--videos", world, "--frames", 4, *CLIP)
    command(*mine, "--dataset", "base")
    refused = actionlore(*mine, "--dataset", "novel")
    failed(refused, "no usable video in split train", '--filter splits=["test"]')
    command(*mine, "--dataset", "novel", "--filter", 'splits=["test"]')

    recipe = ("--dataset", "base", "--recipe", "actionclip_stickworld_transf")
    settings = [word for setting in QUICK for word in ("--set", setting)]
    for seed in (0, 1):
        name = f"draw{seed}"
        command("train", *recipe, "--name", name, *settings, "--set", f"seed={seed}")
        command("evaluate", name, "--wise-ft", 0.5)
        command("evaluate", name, "--data", "novel")
    on_base, on_novel = "draw0-test,draw1-test", "draw0-on-novel-test,draw1-on-novel-test"
    parts = ("--base", f"transf={on_base}", "--novel", f"transf={on_novel}")
    shown = command("summarise", "base-to-novel", *parts)

    table = [line for line in shown.splitlines() if line.startswith("|")]
    assert table[0] == "|  | base top-1 % | novel top-1 % | harmonic mean % |"
    titles = [line.split("|")[1].strip() for line in table[2:]]
    assert titles == ["frozen CLIP, prompt", "transf", "transf, WiSE-FT 0.5"]
    store = Store(tmp_path / "store")
    rows = store.get("comparison/base-to-novel").read().to_pylist()
    found = {(row["protocol"], row["metric"]): row["values"] for row in rows}

    def top1(names, protocol):
        metrics = [store.get(f"metrics/{name}").read().to_pylist() for name in names.split(",")]
        at = (protocol, "top1")
        return [r["value"] for each in metrics for r in each if (r["protocol"], r["metric"]) == at]

    for protocol in ("actionclip", "actionclip@0.5", "zero_shot/prompt"):
        pairs = list(zip(top1(on_base, protocol), top1(on_novel, protocol), strict=True))
        assert len(pairs) == 2
        assert found[protocol, "base_top1"] == [b for b, _ in pairs]
        assert found[protocol, "novel_top1"] == [n for _, n in pairs]
        means = [expected_mean(pair) for pair in pairs]
        assert found[protocol, "harmonic_mean"] == pytest.approx(means)
        assert all(means), "else nothing is compared here"
    shown = command("summarise", "draws", "--of", f"transf={on_novel}")
    assert "| transf, WiSE-FT 0.5 |" in shown
    document = json.loads(command("summarise", "base-to-novel", *parts, "--json"))
    assert document["artifact"] == str(store.get("comparison/base-to-novel").ref)
    frozen, own, between = document["rows"]
    assert (frozen["is_frozen"], frozen["protocol"]) == (True, "zero_shot/prompt")
    assert (own["variants"], own["protocol"], own["wise_ft"]) == (["transf"], "actionclip", None)
    assert between["wise_ft"] == "0.5"
    assert own["metrics"]["novel_top1"]["values"] == found["actionclip", "novel_top1"]
    failed(
        actionlore("summarise", "x", "--base", f"a={on_base}", "--novel", f"a={on_base}"),
        "is given as base and as novel",
    )
    again = command("summarise", "draws", "--of", f"transf=metrics/{on_novel}")
    assert "found comparison/draws@" in " ".join(again.split())


def test_what_cannot_be_summarised(actionlore):
    both = "give --of VARIANT=METRICS, or --base and --novel"
    failed(actionlore("summarise", "x"), both)
    failed(actionlore("summarise", "x", "--of", "a=b", "--novel", "a=c"), both)
    failed(actionlore("summarise", "x", "--of", "a"), "--of 'a': write VARIANT=METRICS")
    failed(actionlore("summarise", "x", "--of", "a=b,,c"), "write VARIANT=METRICS[,METRICS...]")
    failed(actionlore("summarise", "x", "--base", "a=b", "--base", "a=c"), "a is given twice")
    failed(actionlore("summarise", "x", "--of", "a=nothing"), "no artifact metrics/nothing")
