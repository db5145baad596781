"""A tiny dataset as real artifacts: random class directions, videos whose frames lean to theirs."""

import numpy as np
import pyarrow as pa

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from training.data.inputs import TrainInputs
from training.models.actionclip.prompts import TEMPLATES

CLIP = {"arch": "toy", "weights_sha256": "0" * 64}
SPLITS = {"train": 12, "val": 4, "test": 5}
"""Videos per class."""

LOGIT_SCALE = 50.0


def unit(rows):
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


class World:
    """Publishes artifacts; `shuffle` reorders the rows of every table, and nothing else."""

    def __init__(
        self,
        root,
        num_classes=6,
        dim=32,
        num_frames=4,
        clip=CLIP,
        seed=0,
        shuffle=None,
        splits=SPLITS,
        broken=(),
        described=(0, 2),
    ):
        self.store = Store(root)
        self.rng = np.random.default_rng(seed)
        self.edition = 0
        self.num_classes, self.dim, self.num_frames, self.clip = num_classes, dim, num_frames, clip
        self.shuffle = None if shuffle is None else np.random.default_rng(shuffle)
        self.directions_KD = unit(self.rng.normal(size=(num_classes, dim)))
        self.texts_KD = unit(self.rng.normal(size=(num_classes, dim)) + 2 * self.directions_KD)
        self.foreign_ND = unit(self.rng.normal(size=(5, dim)) + self.directions_KD[:1])
        self.labels = {
            f"{split}/c{c}/v{i}": c
            for split, count in splits.items()
            for c in range(num_classes)
            for i in range(count)
        }
        self.broken = set(broken)
        self.classes = self.publish_classes("toy", num_classes)
        self.videos = self.publish_videos()
        self.frames = self.publish_frames()
        self.descriptions = self.publish_descriptions(described) if described else None
        self.texts = self.publish_texts("toy", self.classes, self.texts_KD, described)
        other = self.publish_classes("other", len(self.foreign_ND))
        self.corpus = self.publish_texts("other", other, self.foreign_ND)
        self.negatives = self.publish_negatives()

    def inputs(self, **changes):
        roles = {
            "classes": self.classes,
            "videos": self.videos,
            "texts": self.texts,
            "frames": self.frames,
            "negatives": self.negatives,
            "corpora": (self.corpus,),
        }
        return TrainInputs(**(roles | changes))

    def publish(self, kind, rows, config, tensors=None, name="toy", **inputs):
        columns = [c for c in schema_of(kind).columns if not c.is_tensor]
        schema = pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns])
        table = pa.Table.from_pylist([{c.name: None for c in columns} | r for r in rows], schema)
        for column, (values, valid) in (tensors or {}).items():
            table = append_tensor(table, column, values, valid)
        table = table.select(schema_of(kind).column_names)
        if self.shuffle is not None:
            table = table.take(self.shuffle.permutation(table.num_rows))
        self.edition += 1
        config = config | {"edition": self.edition}
        provenance = Provenance(
            kind=kind, name=name, config=config, inputs=dict(inputs_of(**inputs))
        )
        return self.store.publish(provenance, table, facts={"logit_scale": LOGIT_SCALE})

    def publish_classes(self, name, count):
        flags = {"group": "all", "is_base_75": True, "is_base_50": True}
        rows = [
            {"class_id": c, "name": f"{name}{c}", "prompt_name": f"{name} {c}", **flags}
            for c in range(count)
        ]
        return self.publish("classes", rows, {"dataset": name}, name=name)

    def publish_videos(self, config=None, classes=None):
        rows = [
            {
                "video_id": video_id,
                "path": f"{video_id}.mp4",
                "split": video_id.split("/")[0],
                "class_ids": [label],
                "status": "ok",
            }
            for video_id, label in self.labels.items()
        ]
        return self.publish("videos", rows, config or {}, classes=classes or self.classes)

    def publish_frames(self, offset="center", videos=None):
        labels = np.array(list(self.labels.values()))
        lean = 1.5 * (self.rng.random((len(labels), self.num_frames, 1)) < 0.5) + 0.3
        frames = lean * self.directions_KD[labels][:, None] + 0.25 * self.rng.normal(
            size=(len(labels), self.num_frames, self.dim)
        )
        norms = 8 + self.rng.random((len(labels), self.num_frames))
        ok = np.array([video_id not in self.broken for video_id in self.labels])
        rows = [
            {
                "video_id": video_id,
                "frame_pts": [0.1 * t for t in range(self.num_frames)],
                "status": "unreadable" if video_id in self.broken else "ok",
                "reason": "damaged" if video_id in self.broken else None,
            }
            for video_id in self.labels
        ]
        config = {"clip": self.clip, "num_frames": self.num_frames, "offset": offset}
        tensors = {
            "feature_norms": (norms.astype(np.float32), ok),
            "embedding": (unit(frames).astype(np.float16), ok),
        }
        return self.publish("frame_embeddings", rows, config, tensors, videos=videos or self.videos)

    def publish_descriptions(self, described):
        rows = [
            {"class_id": c, "prompt_id": "p", "text": f"about {c}", "n_tokens": 4, "model": "m"}
            for c in described
        ]
        return self.publish("descriptions", rows, {}, classes=self.classes)

    def publish_texts(self, corpus, classes, prompts, described=(), clip=None):
        rows = [
            {
                "text_id": f"{corpus}/{c}/{source}",
                "corpus": corpus,
                "class_id": c,
                "source": source,
                "name": f"{corpus}{c}",
                "text": f"{source} {c}",
                "feature_norm": 5.0 + c,
            }
            for source, classes_of in (("prompt", range(len(prompts))), ("description", described))
            for c in classes_of
        ]
        vectors = [prompts[row["class_id"]] for row in rows]
        embedding = np.array(vectors, np.float32)
        embedding[len(prompts) :] *= -1
        config = {"clip": clip or self.clip, "template": "{label}", "corpus": corpus}
        inputs = {"classes": classes, "descriptions": self.descriptions if described else None}
        tensors = {"embedding": (embedding, None)}
        return self.publish("text_embeddings", rows, config, tensors, corpus, **inputs)

    def publish_templates(self, templates=TEMPLATES):
        """Every class under every template: its text's direction with some noise."""
        rng = np.random.default_rng(7)
        rows = [
            {
                "text_id": f"toy/{c}/prompt/{number}",
                "corpus": "toy",
                "class_id": c,
                "source": "prompt",
                "name": f"toy{c}",
                "text": template.replace("{label}", f"toy {c}"),
                "feature_norm": 5.0 + number,
            }
            for c in range(self.num_classes)
            for number, template in enumerate(templates)
        ]
        texts = np.repeat(self.texts_KD, len(templates), axis=0)
        embedding = unit(texts + 0.1 * rng.normal(size=texts.shape)).astype(np.float32)
        config = {"clip": self.clip, "templates": list(templates), "corpus": "toy"}
        tensors = {"embedding": (embedding, None)}
        name = "toy-templates"
        return self.publish("text_embeddings", rows, config, tensors, name, classes=self.classes)

    def publish_negatives(self, top_k=8, edit=None, **changes):
        """Each video's texts by rising (class - own) and every second foreign one in between."""
        rows = []
        for video_id, label in self.labels.items():
            if not video_id.startswith("train/"):
                continue
            own = [("toy", (label + i) % self.num_classes) for i in range(self.num_classes)]
            texts = [*own[:2], ("other", 0), *own[2:], ("other", 1)]
            rank = dataset_rank = 0
            for corpus, c in texts[: top_k + 1]:
                kept = (corpus, c) != ("toy", label)
                rank += kept
                dataset_rank += kept and corpus == "toy"
                rows.append(
                    {
                        "video_id": video_id,
                        "rank": rank if kept else None,
                        "dataset_rank": dataset_rank if kept and corpus == "toy" else None,
                        "text_id": f"{corpus}/{c}/prompt",
                        "class_id": c if corpus == "toy" else None,
                        "name": f"{corpus}{c}",
                        "cosine": 0.5 - 0.01 * rank,
                        "margin": 0.1,
                        "status": "kept" if kept else "own_class",
                    }
                )
        if edit:
            rows = edit(rows)
        inputs = {
            "videos": self.videos,
            "frames": self.frames,
            "texts_0": self.texts,
            "texts_1": self.corpus,
        }
        return self.publish("negatives", rows, {"top_k": top_k}, **(inputs | changes))
