"""A tiny real CLIP and the artifacts of a tiny dataset."""

import pytest
import torch

from artifacts.store import Store
from knowledge.clip import ClipSpec, LazyClip
from knowledge.datasets.listing import (
    DatasetSpec,
    read_listing,
    register_classes,
    register_videos,
)
from tests.clip_weights import save_random_clip
from tests.video_files import write_video


@pytest.fixture(scope="session")
def clip_spec(tmp_path_factory):
    path = save_random_clip(tmp_path_factory.mktemp("clip") / "tiny.safetensors")
    return ClipSpec(arch="tiny-vit", weights=str(path))


@pytest.fixture(scope="session")
def clip(clip_spec):
    torch.set_num_threads(1)
    return LazyClip(clip_spec)


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    """Store, spec, classes and videos of six good videos and one bad one."""
    root = tmp_path_factory.mktemp("dataset")
    for i in range(6):
        name = ("walk", "run", "sit")[i % 3]
        write_video(root / f"videos/{'test' if i > 3 else 'train'}/{name}/{i}.mp4", 8 + i)
    (root / "videos/train/walk/bad.mp4").write_text("broken")
    spec = DatasetSpec(dataset="folder", videos=root / "videos", name="tiny")
    listing = read_listing(spec)
    store = Store(root / "store")
    classes = register_classes(store, "tiny", listing.classes).artifact
    videos = register_videos(store, spec, listing, classes).artifact
    return store, spec, classes, videos
