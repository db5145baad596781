"""One schema per artifact kind: what a row is, its columns, units, keys and value rules.

A kind's version enters every artifact key, so raising it makes all jobs of that kind run anew.
"""

from __future__ import annotations

import pyarrow as pa

from artifacts.schema import EMBEDDING, Column, Schema

CLASS_IDS = pa.list_(pa.int32())
VIDEO_STATUS = ("ok", "missing", "unreadable")
NEGATIVE_STATUS = (
    "kept",
    "own_class",
    "true_class",
    "synonym",
    "cooccurring",
    "skip_ranks",
    "max_rank",
    "min_cosine",
    "max_margin",
    "max_cosine",
    "min_margin",
    "max_relative_cosine",
)
"""What becomes of a candidate: `own_class` is the true class nearest to the video, `true_class`
another true one; from `skip_ranks` on, the name of the setting that rejects it. Of several reasons
the first of this order counts."""


def _text(name: str, doc: str, **rules: object) -> Column:
    return Column(name, pa.string(), doc, **rules)  # type: ignore[arg-type]


def _int(name: str, doc: str, **rules: object) -> Column:
    return Column(name, pa.int32(), doc, **rules)  # type: ignore[arg-type]


def _real(name: str, doc: str, **rules: object) -> Column:
    return Column(name, pa.float64(), doc, **rules)  # type: ignore[arg-type]


def _flag(name: str, doc: str) -> Column:
    return Column(name, pa.bool_(), doc)


_CLASS_ID = _int("class_id", "class of the `classes` artifact", minimum=0)
_VIDEO_ID = _text("video_id", "video of the `videos` artifact")
_COSINE_RULES = {"minimum": -1.0, "maximum": 1.0}

_ALL = (
    Schema(
        "classes",
        1,
        "a class",
        (
            _int("class_id", "id in the dataset's official order", minimum=0),
            _text("name", "the dataset's own spelling"),
            _text("prompt_name", "spelling for prompts: words, no underscores or CamelCase"),
            _text("group", "group of actions; `all` where the dataset has none"),
            _flag("is_base_75", "among the first 75 % of its group"),
            _flag("is_base_50", "among the first 50 % of its group"),
        ),
        unique=(("class_id",), ("name",)),
        command="actionlore register",
    ),
    Schema(
        "videos",
        1,
        "a video",
        (
            _text("video_id", "path without its suffix"),
            _text("path", "path relative to the dataset's video directory"),
            _text("split", "part of the dataset", allowed=("train", "val", "test")),
            Column("class_ids", CLASS_IDS, "its classes"),
            _int("num_frames", "frames of the video stream", nullable=True, minimum=0),
            _real("fps", "average frame rate", nullable=True, unit="1/s", minimum=0),
            _real("duration_s", "duration", nullable=True, unit="s", minimum=0),
            _int("width", "picture width", nullable=True, unit="px", minimum=0),
            _int("height", "picture height", nullable=True, unit="px", minimum=0),
            _text("codec", "codec of the video stream", nullable=True),
            _text("fingerprint", "SHA-256 of size, first and last 64 KiB", nullable=True),
            _text("status", "whether it can be used", allowed=VIDEO_STATUS),
            _text("reason", "why it cannot be used", nullable=True),
        ),
        unique=(("video_id",),),
        command="actionlore register",
    ),
    Schema(
        "llm_calls",
        2,
        "an answered request",
        (
            _text("request_key", "SHA-256 of endpoint, request body and round"),
            _text("question", "knowledge kind that asked"),
            _int("class_id", "class asked about", minimum=0),
            _text("group", "group of the candidates, or id of the prompt; empty for neither"),
            _int("round", "independent repetition, from 1", minimum=1),
            _int("reask", "how often it was asked again after an unusable reply", minimum=0),
            _text("endpoint", "base URL, or `recorded`"),
            _text("model", "model asked"),
            _text("request", "request body as canonical JSON"),
            _text("reply", "raw text of the reply", nullable=True),
            _text("finish_reason", "as the endpoint reported it", nullable=True),
            _int("prompt_tokens", "tokens billed for the prompt", nullable=True, minimum=0),
            _int("completion_tokens", "tokens billed for the reply", nullable=True, minimum=0),
            _text("status", "outcome", allowed=("ok", "no_reply", "refusal")),
        ),
        unique=(("request_key",),),
        command="actionlore extract",
    ),
    Schema(
        "cooccurrence",
        1,
        "an ordered class pair",
        (
            _CLASS_ID,
            _int("other_id", "class that may co-occur with it", minimum=0),
            _text("source", "what the row rests on", allowed=("train", "llm", "mirror", "self")),
            _int("votes", "rounds that named the pair", minimum=0),
            _int("rounds", "rounds that gave a valid reply", minimum=0),
            _real(
                "mean_position", "mean place in the replies, 1 = first", nullable=True, minimum=1
            ),
            _int("count", "training videos that hold both; 0 for novel classes", minimum=0),
            _flag("selected", "whether C[class_id, other_id] = 1"),
        ),
        unique=(("class_id", "other_id"),),
        command="actionlore extract",
    ),
    Schema(
        "descriptions",
        1,
        "a class under one prompt",
        (
            _CLASS_ID,
            _text("prompt_id", "which prompt was asked"),
            _text("text", "the description"),
            _int("n_tokens", "CLIP tokens with start and end", minimum=2, maximum=77),
            _text("model", "model that wrote it"),
        ),
        unique=(("class_id", "prompt_id"),),
        command="actionlore extract",
    ),
    Schema(
        "anatomy",
        1,
        "a phase of a class",
        (
            _CLASS_ID,
            _int("stage", "place in temporal order, from 0", minimum=0),
            _text("subject", "who or what moves"),
            _text("motion", "what it does"),
            _text("object", "what it does it to", nullable=True),
            _text("sentence", "the phase as one sentence"),
            _int("n_tokens", "CLIP tokens with start and end", minimum=2, maximum=77),
            _text("model", "model that wrote it"),
        ),
        unique=(("class_id", "stage"),),
        command="actionlore extract",
    ),
    Schema(
        "text_embeddings",
        1,
        "a text",
        (
            _text("text_id", "corpus, class and source in one word; or corpus and id in the file"),
            _text("corpus", "class list or file it comes from"),
            _int("class_id", "class within that class list or file", nullable=True, minimum=0),
            _text(
                "source",
                "what the text is; `text`: of a file",
                allowed=("prompt", "description", "text"),
            ),
            _text("name", "the class name it stands for; of a file without classes the text"),
            _text("text", "the text as encoded"),
            _real("feature_norm", "length of the feature before normalisation", minimum=0),
            Column("embedding", EMBEDDING, "unit row (D,) float32"),
        ),
        unique=(("text_id",),),
        command="actionlore mine",
    ),
    Schema(
        "frame_embeddings",
        1,
        "a video",
        (
            _VIDEO_ID,
            Column(
                "frame_pts", pa.list_(pa.float64()), "presentation time of each frame", unit="s"
            ),
            _text("status", "whether its frames could be decoded", allowed=VIDEO_STATUS),
            _text("reason", "why they could not", nullable=True),
            Column("feature_norms", EMBEDDING, "lengths before normalisation (T,)", nullable=True),
            Column("embedding", EMBEDDING, "unit rows (T, D) float16", nullable=True),
        ),
        unique=(("video_id",),),
        command="actionlore mine",
        files=("canary.npy",),
    ),
    Schema(
        "negatives",
        3,
        "a video x candidate text",
        (
            _VIDEO_ID,
            _int("rank", "1 = hardest of all texts; null if not kept", nullable=True, minimum=1),
            _int(
                "dataset_rank",
                "1 = hardest of the dataset's own classes; null if not kept as one",
                nullable=True,
                minimum=1,
            ),
            _text("text_id", "candidate of the corpus"),
            _int("class_id", "class of the dataset that it is a text of, if any", nullable=True),
            _text("name", "class name of the candidate, or its text"),
            Column("cosine", pa.float32(), "cosine(video, text)", **_COSINE_RULES),  # type: ignore[arg-type]
            Column(
                "margin",
                pa.float32(),
                "cosine of the video's own class minus this cosine",
                minimum=-2.0,
                maximum=2.0,
            ),
            _int("cooccurrence_votes", "LLM rounds that name the pair", nullable=True, minimum=0),
            _text("status", "kept, or what rejected it", allowed=NEGATIVE_STATUS),
            _text("reason", "detail of a rejection", nullable=True),
        ),
        unique=(("video_id", "text_id"),),
        command="actionlore mine",
    ),
    Schema(
        "episodes",
        1,
        "a slot of a few-shot episode",
        (
            _int("episode", "from 0", minimum=0),
            _text("role", "shown with its class, or asked about", allowed=("support", "query")),
            _CLASS_ID,
            _VIDEO_ID,
        ),
        unique=(("episode", "role", "video_id"),),
        command="actionlore few-shot",
    ),
    Schema(
        "training_run",
        3,
        "an epoch",
        (
            _int("epoch", "from 1", minimum=1),
            _int("step", "optimiser steps so far", minimum=0),
            _real("loss", "mean training loss"),
            _real("learning_rate", "of the new modules, at the end of the epoch", minimum=0),
            _real(
                "val_top1", "top-1 on the validation videos", nullable=True, minimum=0, maximum=1
            ),
            _real(
                "val_map",
                "mean over classes of average precision, for videos of several classes",
                nullable=True,
                minimum=0,
                maximum=1,
            ),
        ),
        unique=(("epoch",),),
        command="actionlore train",
        files=("model.safetensors",),
    ),
    Schema(
        "predictions",
        2,
        "a video under one protocol",
        (
            _text("protocol", "how the prediction was made"),
            _VIDEO_ID,
            Column("class_ids", CLASS_IDS, "its true classes"),
            Column("top_class_ids", CLASS_IDS, "most probable classes, best first"),
            Column("top_probabilities", pa.list_(pa.float64()), "their probabilities"),
        ),
        unique=(("protocol", "video_id"),),
        command="actionlore train",
    ),
    Schema(
        "metrics",
        1,
        "a metric under one protocol",
        (
            _text("split", "videos evaluated", allowed=("train", "val", "test")),
            _text("protocol", "how the prediction was made"),
            _text("metric", "name of the metric"),
            _real("value", "value"),
            _int("num_videos", "videos it is computed over", minimum=0),
        ),
        unique=(("split", "protocol", "metric"),),
        command="actionlore train",
    ),
    Schema(
        "comparison",
        1,
        "a metric of a variant over several seeds",
        (
            _text("variant", "what was changed"),
            _text("protocol", "how the prediction was made"),
            _text("metric", "name of the metric"),
            _real("mean", "mean over the seeds"),
            _real("std", "sample standard deviation over the seeds; 0 for one seed", minimum=0),
            Column("values", pa.list_(pa.float64()), "value of each seed"),
        ),
        unique=(("variant", "protocol", "metric"),),
        command="actionlore summarise",
    ),
)

SCHEMAS: dict[str, Schema] = {schema.kind: schema for schema in _ALL}


def schema_of(kind: str) -> Schema:
    """Schema of a kind.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in SCHEMAS:
        raise ValueError(f"unknown artifact kind {kind!r}; known: {', '.join(sorted(SCHEMAS))}")
    return SCHEMAS[kind]
