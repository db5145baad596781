"""Class means, Tip-Adapter's logits and its grid against their equations, number by number."""

import math

import pytest
import torch

from training.models.prototype.logits import ALPHAS, BETAS, best_of_grid, class_means, votes


def unit(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return rows / rows.norm(dim=-1, keepdim=True)


def literal_logits(v_D, texts_KD, cache_ND, class_N, alpha, beta):
    """Per class c: v . t_c + alpha * sum over i of class c of exp(-beta (1 - v . f_i))."""
    found = []
    for c, text_D in enumerate(texts_KD):
        text = sum(a * b for a, b in zip(v_D.tolist(), text_D.tolist(), strict=True))
        cache = 0.0
        for f_D, own in zip(cache_ND, class_N.tolist(), strict=True):
            cosine = sum(a * b for a, b in zip(v_D.tolist(), f_D.tolist(), strict=True))
            cache += math.exp(-beta * (1 - cosine)) * (own == c)
        found.append(text + alpha * cache)
    return found


def test_means_are_of_unit_videos_and_unit_again():
    video_ND, class_N = unit(7, 3), torch.tensor([0, 1, 1, 0, 2, 1, 2])
    found_KD = class_means(video_ND, class_N, 3)
    for k in range(3):
        rows = [
            row for row, own in zip(video_ND.tolist(), class_N.tolist(), strict=True) if own == k
        ]
        mean = [sum(column) / len(rows) for column in zip(*rows, strict=True)]
        length = math.sqrt(sum(value**2 for value in mean))
        assert found_KD[k].tolist() == pytest.approx([value / length for value in mean])


def test_votes_are_those_of_the_equation():
    video_BD, cache_ND, texts_KD = unit(4, 5), unit(6, 5, seed=1), 20 * unit(3, 5, seed=2)
    class_N = torch.tensor([0, 0, 2, 1, 2, 2])
    class_NK = torch.nn.functional.one_hot(class_N, 3).double()
    for alpha, beta in ((1.0, 5.5), (0.3, 0.1)):
        found_BK = video_BD @ texts_KD.T + alpha * votes(video_BD @ cache_ND.T, class_NK, beta)
        for v_D, found_K in zip(video_BD, found_BK, strict=True):
            wanted = literal_logits(v_D, texts_KD, cache_ND, class_N, alpha, beta)
            assert found_K.tolist() == pytest.approx(wanted)


def test_the_grid_finds_the_first_of_the_best():
    video_BD, cache_ND, texts_KD = unit(25, 4), unit(12, 4, seed=1), 2 * unit(3, 4, seed=2)
    class_B, class_N = torch.arange(25) % 3, torch.arange(12) % 3
    class_NK = torch.nn.functional.one_hot(class_N, 3).double()
    alphas, betas = (0.1, 0.5, 2.0), (0.1, 1.0, 4.0, 6.5)
    accuracy = {}
    for beta in betas:
        for alpha in alphas:
            hits = 0
            for v_D, true in zip(video_BD, class_B.tolist(), strict=True):
                found = literal_logits(v_D, texts_KD, cache_ND, class_N, alpha, beta)
                hits += found.index(max(found)) == true
            accuracy[alpha, beta] = hits / 25
    assert len(set(accuracy.values())) > 2
    wanted = max(accuracy, key=accuracy.__getitem__)
    for at_once in (1024, 4):
        given = (video_BD, class_B, texts_KD, cache_ND, class_NK, alphas, betas)
        assert best_of_grid(*given, at_once) == (*wanted, accuracy[wanted])


def test_the_grid_is_the_papers():
    assert (len(ALPHAS), len(BETAS)) == (20, 200)
    assert (ALPHAS[0], BETAS[0]) == (0.1, 0.1)
    assert ALPHAS[-1] == pytest.approx(2.855)
    assert BETAS[-1] == pytest.approx(6.9655)
