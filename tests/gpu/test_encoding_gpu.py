"""Frames encoded on a GPU, beside workers that decode, and texts are as on the CPU."""

import numpy as np
import pytest
import torch

from artifacts.store import Store
from artifacts.tensors import read_tensor
from knowledge.clip.lazy import LazyClip
from knowledge.clip.model import encode_texts, load_clip
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.config import EncodingOptions, FrameConfig
from knowledge.embedding.engine.text_encoder import TextEncoder
from tests.clip_weights import save_random_clip
from tests.jobs import frame_embeddings
from tests.video_files import write_video
from tests.video_rows import listed

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.99999), ("bf16", 0.9995)])
def test_a_gpu_embeds_like_the_cpu(tmp_path, precision, cosine):
    names = [f"{i}.mp4" for i in range(20)]
    for i, name in enumerate(names):
        write_video(tmp_path / "videos" / name, 8 + i)
    spec = ClipSpec(arch="tiny-vit", weights=str(save_random_clip(tmp_path / "w.safetensors")))
    rows = {}
    for device in ("cpu", "cuda"):
        store = Store(tmp_path / device)
        videos = listed(store, tmp_path / "videos", names)
        config = EncodingOptions(precision=precision, num_workers=3)
        clip = LazyClip(spec, device)
        made = frame_embeddings(
            store, clip, videos, tmp_path / "videos", FrameConfig(num_frames=4), encoding=config
        )
        rows[device] = read_tensor(made.artifact.read(), "embedding").astype(np.float32)
    assert rows["cuda"].shape == (20, 4, 64)
    assert (rows["cpu"] * rows["cuda"]).sum(axis=-1).min() > cosine


@pytest.mark.parametrize(("precision", "cosine"), [("fp32", 0.99999), ("bf16", 0.9995)])
def test_a_gpu_embeds_texts_like_the_cpu(tmp_path, precision, cosine):
    texts = ["walk", "run " * 70, *(f"a person who does {i}" for i in range(300))]
    spec = ClipSpec(arch="tiny-vit", weights=str(save_random_clip(tmp_path / "w.safetensors")))
    expected, _ = encode_texts(load_clip(spec), texts)
    rows, _ = TextEncoder(load_clip(spec, "cuda"), precision)(texts)
    assert (rows * expected.numpy()).sum(axis=1).min() > cosine
