"""A comparison as Markdown: per cent, the paper's numbers, frozen CLIP apart."""

import statistics

import pytest

from artifacts.store import Store
from flows.terminal.comparison import markdown
from tests.published import publish


@pytest.fixture
def compared(tmp_path):
    def compared(values):
        rows = [
            {
                "variant": variant,
                "protocol": protocol,
                "metric": metric,
                "mean": statistics.fmean(each),
                "std": statistics.stdev(each) if len(each) > 1 else 0.0,
                "values": each,
            }
            for (variant, protocol), metrics in values.items()
            for metric, each in metrics.items()
        ]
        return publish(Store(tmp_path), "comparison", rows)

    return compared


def test_a_line_per_variant_and_the_papers_numbers(compared):
    pairs = {"time_pairs": [0.5] * 3, "posture_pairs": [1.0] * 3}
    clip = {"top1": [0.25] * 3, "top5": [0.25] * 3, "unreadable": [0.0] * 3} | pairs
    first, second = [0.5, 0.6, 0.7], [0.4] * 3
    comparison = compared(
        {
            ("k0", "mgdm"): pairs,
            ("k0", "mgdm/all"): {"top1": first, "top5": first} | pairs,
            ("k0", "zero_shot/prompt"): clip,
            ("no_discriminator", "mgdm"): {"top1": second, "top5": second} | pairs,
            ("no_discriminator", "mgdm/all"): pairs,
            ("no_discriminator", "zero_shot/prompt"): clip,
        }
    )
    text = markdown(comparison, {"k0": {"hmdb51": 0.79}})
    assert text.splitlines() == [
        "|  | top-1 % | top-5 % | time pairs % | posture pairs % | paper, hmdb51 |",
        "| --- | --- | --- | --- | --- | --- |",
        "| frozen CLIP, prompt | 25.0 ± 0.0 | 25.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 |  |",
        "| k0 | 60.0 ± 10.0 | 60.0 ± 10.0 | 50.0 ± 0.0 | 100.0 ± 0.0 | 79.0 |",
        "| no discriminator | 40.0 ± 0.0 | 40.0 ± 0.0 | 50.0 ± 0.0 | 100.0 ± 0.0 |  |",
    ]


def test_every_context_has_a_line_and_the_paper_is_beside_the_first(compared):
    values = {"mgdm/neighbours": 0.5, "mgdm/all": 0.25, "mgdm/self": 0.75, "mgdm/all@0.5": 1.0}
    comparison = compared({("k7", each): {"top1": [value]} for each, value in values.items()})
    assert markdown(comparison, {"k7": {"hmdb51": 0.822}}).splitlines() == [
        "|  | top-1 % | paper, hmdb51 |",
        "| --- | --- | --- |",
        "| k7, neighbours | 50.0 | 82.2 |",
        "| k7, all | 25.0 |  |",
        "| k7, all, WiSE-FT 0.5 | 100.0 |  |",
        "| k7, self | 75.0 |  |",
    ]


def test_weights_between_stand_below_and_frozen_clip_apart_where_videos_differ(compared):
    values = {
        ("ucf", "clip"): 0.5,
        ("ucf", "clip@p25"): 0.75,
        ("ucf", "zero_shot/prompt"): 0.25,
        ("hmdb", "clip"): 0.5,
        ("hmdb", "zero_shot/prompt"): 0.125,
        ("twice_hmdb", "clip"): 0.0,
        ("twice_hmdb", "zero_shot/prompt"): 0.125,
    }
    comparison = compared({at: {"top1": [value]} for at, value in values.items()})
    assert markdown(comparison, {"ucf": {"paper": 0.5}}).splitlines() == [
        "|  | top-1 % | paper, paper |",
        "| --- | --- | --- |",
        "| frozen CLIP, prompt (ucf) | 25.0 |  |",
        "| frozen CLIP, prompt (hmdb, twice hmdb) | 12.5 |  |",
        "| ucf | 50.0 | 50.0 |",
        "| ucf, WiSE-FT p25 | 75.0 |  |",
        "| hmdb | 50.0 |  |",
        "| twice hmdb | 0.0 |  |",
    ]


def test_base_and_novel_classes(compared):
    base, novel, mean = [0.75, 0.5, 0.0], [0.25, 0.5, 0.0], [0.375, 0.5, 0.0]
    same = dict.fromkeys(("base_top1", "novel_top1", "harmonic_mean"), [0.5] * 3)
    own = {"base_top1": base, "novel_top1": novel, "harmonic_mean": mean}
    comparison = compared({("a", "clip"): own, ("a", "zero_shot/prompt"): same})
    assert markdown(comparison, {}).splitlines() == [
        "|  | base top-1 % | novel top-1 % | harmonic mean % |",
        "| --- | --- | --- | --- |",
        "| frozen CLIP, prompt | 50.0 ± 0.0 | 50.0 ± 0.0 | 50.0 ± 0.0 |",
        "| a | 41.7 ± 38.2 | 25.0 ± 25.0 | 29.2 ± 26.0 |",
    ]


def test_few_shot_without_embeddings_of_its_own_is_frozen_clips_line(compared):
    frozen, own = "nearest_class_mean/frozen_clip", "nearest_class_mean/mgdm"
    clip = {"accuracy": [0.5], "ci95": [0.01]}
    comparison = compared(
        {
            ("mgdm", own): {"accuracy": [0.75], "ci95": [0.01]},
            ("mgdm", frozen): clip,
            ("linear_probe", frozen): clip,
        }
    )
    assert markdown(comparison, {}).splitlines() == [
        "|  | accuracy % | ci95 % |",
        "| --- | --- | --- |",
        "| frozen CLIP, nearest_class_mean (mgdm, linear probe) | 50.0 | 1.0 |",
        "| mgdm | 75.0 | 1.0 |",
    ]
