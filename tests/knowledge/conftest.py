"""A tiny real CLIP, the artifacts of a tiny dataset, and a model asked about a few classes."""

import pytest
import torch

from artifacts.store import Store
from knowledge.clip.lazy import LazyClip
from knowledge.clip.weights import ClipSpec
from knowledge.datasets.listing import read_listing
from knowledge.datasets.registration import register_classes, register_videos
from knowledge.datasets.spec import DatasetSpec
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger.ledger import Ledger
from tests.batch_server import BatchServer
from tests.clip_weights import save_random_clip
from tests.knowledge.asking import KEY, describe, publish_classes
from tests.knowledge.llm import batching
from tests.llm_server import LlmServer
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


@pytest.fixture
def store(tmp_path):
    return Store(tmp_path / "store")


@pytest.fixture
def classes(store):
    return publish_classes(store)


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        yield ledger


@pytest.fixture
def server():
    with LlmServer(answer=describe) as server:
        yield server


@pytest.fixture
def model(server):
    model = OpenAiChat(server.url, "test-model", KEY, timeout_s=10)
    yield model
    model.close()


@pytest.fixture
def batch_server():
    with BatchServer(answer=batching.describe) as server:
        yield server


@pytest.fixture
def batch_world(tmp_path, batch_server):
    return batching.World(tmp_path, batch_server)


@pytest.fixture
def one_by_one(tmp_path, batch_server):
    """Content hash of the same extraction, asked one by one."""
    plain = batching.World(tmp_path / "plain", batch_server)
    return plain.ask(is_batch=False).artifact.manifest.content_hash
