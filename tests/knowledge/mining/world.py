"""Videos, class lists and files of texts of given numbers, ready to be mined."""

import numpy as np
import pyarrow as pa

from artifacts.jobs import make_all
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import MiningJob

CLIP = {"arch": "toy", "weights_sha256": "0"}
USUAL = {}


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def plain_schema(kind):
    columns = [c for c in schema_of(kind).columns if not c.is_tensor]
    return pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])


class World:
    """Artifacts made of given numbers: no videos are decoded, no model is run."""

    def __init__(self, root, names, texts_MD, labels, frames_NTD, foreign=(), split="train"):
        self.store, self.labels = Store(root), labels
        self.classes = self.publish_classes("toy", names)
        videos = [
            {
                "video_id": f"v{i}",
                "path": f"v{i}.mp4",
                "split": split,
                "class_ids": list(ids),
                "status": "ok",
            }
            for i, ids in enumerate(labels)
        ]
        self.videos = self.publish("videos", videos, {"labels": str(labels)}, classes=self.classes)
        rows = [{"video_id": v["video_id"], "frame_pts": [], "status": "ok"} for v in videos]
        self.frames = self.publish(
            "frame_embeddings",
            rows,
            {"clip": CLIP, "hash": hash(frames_NTD.tobytes())},
            {"feature_norms": np.ones(frames_NTD.shape[:2], np.float32), "embedding": frames_NTD},
            videos=self.videos,
        )
        self.texts = [self.publish_texts("toy", self.classes, names, texts_MD)]
        for i, (other, vectors) in enumerate(foreign):
            classes = self.publish_classes(f"other{i}", other)
            self.texts.append(self.publish_texts(f"other{i}", classes, other, vectors))

    def publish(self, kind, rows, config, tensors=None, name="toy", **inputs):
        table = pa.Table.from_pylist(rows, schema=plain_schema(kind))
        for column, values in (tensors or {}).items():
            table = append_tensor(table, column, values)
        given = Provenance(kind=kind, name=name, config=config, inputs=dict(inputs_of(**inputs)))
        return self.store.find(given) or self.store.publish(given, table)

    def publish_classes(self, name, names):
        rows = [
            {
                "class_id": i,
                "name": each,
                "prompt_name": each,
                "group": "all",
                "is_base_75": True,
                "is_base_50": True,
            }
            for i, each in enumerate(names)
        ]
        return self.publish("classes", rows, {"names": list(names)}, name=name)

    def publish_texts(self, name, classes, names, vectors):
        rows = [
            {
                "text_id": f"{name}/{i}/prompt",
                "corpus": name,
                "class_id": i,
                "source": "prompt",
                "name": each,
                "text": each,
                "feature_norm": 1.0,
            }
            for i, each in enumerate(names)
        ]
        config = {"clip": CLIP, "hash": hash(vectors.tobytes())}
        return self.publish(
            "text_embeddings", rows, config, {"embedding": vectors}, name, classes=classes
        )

    def publish_file(self, name, texts, vectors):
        """Texts of a file: (text, class or None) each."""
        named = list(dict.fromkeys(each for _, each in texts if each))
        rows = [
            {
                "text_id": f"{name}/{i}",
                "corpus": name,
                "class_id": named.index(each) if each else None,
                "source": "text",
                "name": each or text,
                "text": text,
                "feature_norm": 1.0,
            }
            for i, (text, each) in enumerate(texts)
        ]
        config = {"clip": CLIP, "hash": hash(vectors.tobytes())}
        return self.publish("text_embeddings", rows, config, {"embedding": vectors}, name)

    def publish_votes(self, votes):
        rows = [
            {
                "class_id": one,
                "other_id": other,
                "source": "llm",
                "votes": count,
                "rounds": 5,
                "count": 0,
                "selected": True,
            }
            for (one, other), count in votes.items()
        ]
        return self.publish("cooccurrence", rows, {"votes": str(votes)}, classes=self.classes)

    def mine(self, cooccurrence=None, sizes=USUAL, **config):
        given = (self.store, self.videos, self.frames, tuple(self.texts), MiningConfig(**config))
        made = make_all(MiningJob(*given, cooccurrence, **sizes))
        return made.artifact.read().to_pylist()


def world(root, seed=0, classes=12, videos=9, foreign=True, **fields):
    rng = np.random.default_rng(seed)
    names = [f"action {chr(97 + i)}" for i in range(classes)]
    labels = [tuple(sorted({int(rng.integers(classes))})) for _ in range(videos)]
    texts = unit(rng.standard_normal((classes, 8)))
    frames = unit(rng.standard_normal((videos, 3, 8))).astype(np.float16)
    others = []
    if foreign:
        other = ["ActionA", "another", "action_b", "something"]
        vectors = unit(rng.standard_normal((4, 8)))
        vectors[1] = texts[3]  # the same action under another name
        others = [(other, vectors)]
    return World(root, names, texts, labels, frames, others, **fields)


def small(per_part, per_pass):
    """Sizes of a job: videos of each part and of each pass over the texts."""
    return {"videos_per_part": per_part, "videos_per_pass": per_pass}


def job(made, root, sizes=USUAL, **config):
    given = (Store(root), made.videos, made.frames, tuple(made.texts), MiningConfig(**config))
    return MiningJob(*given, **sizes)


FILE = [
    ("someone does action c", "ActionC"),
    ("action d once more", "action d"),
    ("a third way of doing it", "unheard of"),
    ("an idle person", None),
    ("Action E!", None),  # only the name of a class: left out
    ("something", None),  # named by the class list before: left out
]


def rich_world(root, seed=0, videos=30):
    """Videos of up to three classes, a class list and a file of texts beside the dataset's."""
    rng = np.random.default_rng(seed)
    names = [f"action {chr(97 + i)}" for i in range(12)]
    labels = [
        tuple(sorted({int(each) for each in rng.integers(12, size=1 + i % 3)}))
        for i in range(videos)
    ]
    texts = unit(rng.standard_normal((12, 8)))
    lean = texts[[ids[0] for ids in labels]][:, None] * rng.choice([0.0, 1.0], (videos, 1, 1))
    frames = unit(lean + 0.4 * rng.standard_normal((videos, 3, 8))).astype(np.float16)
    listed = unit(rng.standard_normal((4, 8)))
    listed[1] = texts[3]  # the same action under another name
    made = World(
        root, names, texts, labels, frames, [(["ActionA", "another", "x", "something"], listed)]
    )
    vectors = unit(rng.standard_normal((len(FILE), 8)) + texts[0])
    made.texts.append(made.publish_file("file", FILE, vectors))
    pairs = {(i, (i + d) % 12): int(rng.integers(6)) for i in range(12) for d in (1, 5)}
    made.cooccurrence = made.publish_votes(pairs)
    made.votes = pairs
    return made
