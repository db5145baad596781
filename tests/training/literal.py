"""Definitions written out over lists of vectors, one by one, to compare the real ones with."""

import numpy as np
import torch


def norm(x, layer):
    mean = x.mean()
    return (x - mean) / ((x - mean).square().mean() + layer.eps).sqrt() * layer.weight + layer.bias


def attention(tokens, attn, causal=False):
    """Multi-head attention over a list of vectors, head by head and pair by pair."""
    D, heads = len(tokens[0]), attn.num_heads
    size = D // heads
    q, k, v = (
        [w @ x + b for x in tokens]
        for w, b in zip(attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3), strict=True)
    )
    out = []
    for i in range(len(tokens)):
        parts = []
        for h in range(heads):
            own = slice(h * size, (h + 1) * size)
            seen = range(i + 1) if causal else range(len(tokens))
            weights = torch.stack([q[i][own] @ k[j][own] / size**0.5 for j in seen]).softmax(0)
            parts.append(sum(w * v[j][own] for w, j in zip(weights, seen, strict=True)))
        out.append(attn.out_proj.weight @ torch.cat(parts) + attn.out_proj.bias)
    return out


def linear(layer, x):
    return layer.weight @ x + layer.bias


def clip_block(tokens, block, causal=False):
    """A pre-norm block of open_clip with exact GELU."""
    mixed = attention([norm(x, block.ln_1) for x in tokens], block.attn, causal)
    tokens = [x + m for x, m in zip(tokens, mixed, strict=True)]
    hidden = [linear(block.mlp.c_fc, norm(x, block.ln_2)) for x in tokens]
    gated = [y * (1 + torch.erf(y / 2**0.5)) / 2 for y in hidden]
    return [x + linear(block.mlp.c_proj, y) for x, y in zip(tokens, gated, strict=True)]


def nearest_class_mean_hits(embeddings, support, query):
    """Which queries are nearest to the mean of their own class, one at a time, in numpy."""

    def cosine(a, b):
        return a @ b / (np.linalg.norm(a) * np.linalg.norm(b))

    hits = np.zeros(query.shape, bool)
    for e, (shown, asked) in enumerate(zip(support, query, strict=True)):
        means = []
        for videos in shown:
            units = [embeddings[v] / np.linalg.norm(embeddings[v]) for v in videos]
            means.append(sum(units) / len(units))
        for way, videos in enumerate(asked):
            for q, video in enumerate(videos):
                cosines = [cosine(embeddings[video], mean) for mean in means]
                hits[e, way, q] = cosines.index(max(cosines)) == way
    return hits
