"""Flow `register-features`: features a user already has, and the negatives mined with them."""

from __future__ import annotations

from artifacts.store import Store
from flows.orchestration.flow import flow, task
from flows.orchestration.report import JobReport, job_report
from flows.orchestration.resolve import newest_of
from flows.orchestration.specs.features import FeaturesSpec
from knowledge.clip.lazy import LazyClip
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.features import named_encoder, register_features, register_texts
from knowledge.mining.job import mine as mine_job


@task
def register_features_task(store: str, spec: FeaturesSpec) -> list[JobReport]:
    """Publish `frame_embeddings` and `text_embeddings`."""
    target = Store(store)
    videos = target.get(f"videos/{spec.dataset}")
    classes = target.get(videos.manifest.inputs["classes"].ref)
    lazy = None if isinstance(spec.clip, str) else LazyClip(spec.clip)
    identity = lazy.identity if lazy else named_encoder(str(spec.clip))
    if spec.texts is not None:
        scale = 100.0 if spec.logit_scale is None else spec.logit_scale
        texts = register_texts(target, classes, spec.texts, identity, scale)
    elif lazy is None:
        raise ValueError(
            f"the class texts cannot be embedded by {spec.clip} without its weights; give --texts, "
            "or --clip-weights"
        )
    elif spec.logit_scale is not None:
        raise ValueError("--logit-scale has no effect without --texts")
    else:
        descriptions = newest_of(target, "descriptions", classes.manifest.name, classes=classes)
        texts = text_embeddings(target, lazy, classes, descriptions)
    frames = register_features(target, videos, spec.features, identity)
    return [job_report(texts), job_report(frames)]


@task
def mine_features_task(store: str, spec: FeaturesSpec, texts: str, frames: str) -> JobReport:
    """Rank each video's hard negatives, as `mine` does."""
    target = Store(store)
    videos = target.get(f"videos/{spec.dataset}")
    classes = target.get(videos.manifest.inputs["classes"].ref)
    votes = newest_of(target, "cooccurrence", classes.manifest.name, classes=classes)
    corpora = [target.get(texts)]
    return job_report(mine_job(target, videos, target.get(frames), corpora, spec.mining, votes))


@flow(name="register-features")
def register_features_flow(store: str, spec: FeaturesSpec) -> list[JobReport]:
    """Register features: `text_embeddings`, `frame_embeddings` and `negatives` to train on."""
    texts, frames = register_features_task(store, spec)
    return [texts, frames, mine_features_task(store, spec, texts.ref, frames.ref)]
