"""What a change is worth, with an interval that says how sure that is."""

import math

import pytest

from artifacts.store import Store
from tests.published import publish
from training.evaluation.tables.contrast import AS_TRAINED, Contrast, contrast, contrasts


def test_the_difference_is_taken_seed_by_seed():
    found = contrast([0.5, 0.6, 0.7], [0.6, 0.7, 0.8])
    assert found.mean == pytest.approx(0.1)
    assert found.half_width == pytest.approx(0.0, abs=1e-12)
    found = contrast([0.0, 0.0, 0.0], [0.1, 0.2, 0.3])
    assert (found.mean, found.half_width) == pytest.approx((0.2, 4.303 * 0.1 / math.sqrt(3)))
    assert contrast([0.5], [0.25]) == Contrast(-0.25, None)
    many = contrast([0.0] * 16, [0.0, 0.1] * 8)
    assert many.half_width == pytest.approx(2.262 * math.sqrt(0.04 / 15) / 4)


@pytest.mark.parametrize("seeds", [([], []), ([0.5], [0.5, 0.5])])
def test_other_seeds_have_no_difference(seeds):
    with pytest.raises(ValueError, match="seeds have no difference seed by seed"):
        contrast(*seeds)


def test_variants_as_trained_and_under_each_protocol_of_both(tmp_path):
    values = {
        ("k0", "mgdm/self"): [0.5, 0.25],
        ("k0", "mgdm/all"): [0.0, 0.0],
        ("k7", "mgdm/neighbours"): [0.75, 0.5],
        ("k7", "mgdm/all"): [0.5, 0.5],
        ("k7", "mgdm/all@0.5"): [1.0, 1.0],
        ("k7", "mgdm/self"): [0.5, 0.25],
        ("k7", "zero_shot/prompt"): [0.125, 0.125],
    }
    rows = [
        {"variant": v, "protocol": p, "metric": "top1", "mean": sum(x) / 2, "std": 0.0, "values": x}
        for (v, p), x in values.items()
    ]
    found = contrasts(publish(Store(tmp_path), "comparison", rows), "k0", "k7", "top1")
    assert {name: each.mean for name, each in found.items()} == {
        AS_TRAINED: 0.25,
        "mgdm/self": 0.0,
        "mgdm/all": 0.5,
    }
    assert next(iter(found)) == AS_TRAINED
    with pytest.raises(ValueError, match=r"comparison/\S+ has no variant 'k8'"):
        contrasts(Store(tmp_path).published("comparison")[0], "k0", "k8", "top1")
