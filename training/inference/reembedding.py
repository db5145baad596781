"""Videos and texts as a trained run sees them, so that negatives can be mined anew with it.

The artifacts are of the same kinds as frozen CLIP's, so mining needs to know nothing of runs. Their
`clip` identity names the run, and texts keep their ids.

Legend: B videos, T frames, D embedding, K texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch

from artifacts.artifact import Artifact, Outcome
from artifacts.jobs import Progress
from artifacts.kinds import schema_of
from artifacts.provenance import InputRef, Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from training.config.method import MethodConfig
from training.config.method_code import CODE, method_code
from training.config.run import RunConfig
from training.data.class_list import read_class_list, read_classes, text_features
from training.data.inputs import TrainInputs, clip_identity
from training.data.order import chunks
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.evaluation.evaluate import load_run
from training.models import weights as checkpoint
from training.models.build import assemble, default_device, restore
from training.models.method import Method

CONTEXT_TEXTS = 4096
"""Most texts that may see each other; a corpus of more needs a run that sees each alone."""

TEXTS_PER_PASS = 1024


def reembed(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    splits: Sequence[str] = ("train",),
    progress: Progress | None = None,
    device: str | None = None,
) -> tuple[list[Outcome], Outcome]:
    """Embed videos and texts with a trained method.

    A video is what the loss compares with its negatives (`Method.embed_videos`), under its class's
    prompt; unit length, as everywhere, which changes no order of texts. A text is what it is
    compared with (`Method.embed_texts`), within its own list.

    Args:
        store: where to publish.
        run: the `training_run`.
        inputs: as for evaluation; `corpora` are embedded, too.
        splits: of the videos.
        progress: called with videos embedded and in total.
        device: the first CUDA device if there is one when None.

    Returns:
        `text_embeddings` of the dataset and of each corpus; `frame_embeddings` with T = 1.

    Raises:
        ValueError: inputs that do not belong to the run, a run whose video embedding depends on the
            text it is compared with, or a corpus too long for its context.
    """
    saved, config = load_run(run, inputs)
    if why := config.model.why_not_mined:
        raise ValueError(
            f"negatives cannot be mined with {run.ref}: {why}; give another run, or mine with "
            "frozen CLIP: --videos, --clip and --clip-weights instead of --from-run"
        )
    identity = clip_identity(inputs.texts) | {"run": run.manifest.content_hash}
    target = torch.device(device) if device else default_device()
    load = _Loader(inputs, config, saved, target)
    texts = [
        _texts(store, run, source, identity, config.model, load)
        for source in (inputs.texts, *inputs.corpora)
    ]
    return texts, _videos(store, run, inputs, identity, config, splits, load, progress)


class _Loader:
    """The run's model, built when an artifact is not found by its key."""

    def __init__(
        self,
        inputs: TrainInputs,
        config: RunConfig,
        saved: checkpoint.Checkpoint,
        device: torch.device,
    ) -> None:
        self.inputs, self.config, self.saved, self.device = inputs, config, saved, device
        cached = config.data.features == "cached"
        assert inputs.frames is not None or not cached
        self.cached = CachedClips(inputs.frames) if cached and inputs.frames else None
        self._model: Method | None = None

    def model(self) -> Method:
        """In evaluation mode."""
        if self._model is None:
            classes = read_class_list(self.inputs, self.config)
            given = (self.config, classes, self.cached, self.device)
            model, self.source = assemble(self.inputs, *given)
            restore(model, self.saved)
            self._model = model.eval()
        return self._model


def _videos(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    identity: dict[str, str],
    config: RunConfig,
    splits: Sequence[str],
    load: _Loader,
    progress: Progress | None,
) -> Outcome:
    cached = inputs.frames if load.cached is not None else None
    provenance = Provenance(
        kind="frame_embeddings",
        name=inputs.videos.manifest.name,
        config={
            "clip": identity,
            "splits": sorted(splits),
            CODE: method_code(config.model.name),
        },
        inputs=dict(inputs_of(videos=inputs.videos, frames=cached, texts=inputs.texts, run=run)),
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    model = load.model()
    source = load.source
    classes = read_classes(inputs.classes, inputs.texts)
    sets = [read_videos(inputs, config, split, load.cached) for split in sorted(splits)]
    total, done = sum(map(len, sets)), 0
    ids: list[str] = []
    embedded: list[npt.NDArray[np.float32]] = []
    for videos in sets:
        order = np.arange(len(videos))
        for index_B, clips in source.stream(videos, chunks(order, config.eval.batch_size), None):
            guides = classes.prompts_KD[classes.positions(videos.class_ids_N[index_B])]
            embedded.append(_embed(model, clips.to(load.device), guides.to(load.device)))
            ids += [videos.video_ids[i] for i in index_B.tolist()]
            done += len(index_B)
            if progress:
                progress(done, total)
    videos_ND = np.concatenate(embedded)
    norms_N = np.linalg.norm(videos_ND, axis=1)
    columns = schema_of("frame_embeddings").columns[:4]
    values = [ids, [[] for _ in ids], ["ok"] * len(ids), [None] * len(ids)]
    table = pa.table(
        [pa.array(value, c.type) for value, c in zip(values, columns, strict=True)],
        schema=pa.schema([pa.field(c.name, c.type, c.nullable) for c in columns]),
    )
    valid = np.ones(len(ids), bool)
    table = append_tensor(table, "feature_norms", norms_N[:, None].astype(np.float32), valid)
    units_N1D = (videos_ND / norms_N[:, None])[:, None].astype(np.float16)
    table = append_tensor(table, "embedding", units_N1D, valid)
    report = {
        "videos": len(ids),
        "videos_skipped": sum(videos.skipped.total() for videos in sets),
        "videos_unreadable": dict(source.unreadable),
    }
    work = {"videos_decoded": source.num_decoded}
    return Outcome(store.publish(provenance, table, report), made=True, work=work)


@torch.no_grad()
def _embed(model: Method, clips: torch.Tensor, guides_BD: torch.Tensor) -> npt.NDArray[np.float32]:
    """(B, D) video embeddings, not normalised."""
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
        videos_BD = model.embed_videos(clips, guides_BD)
    return np.asarray(videos_BD.float().cpu().numpy())


def _texts(
    store: Store,
    run: Artifact,
    source: Artifact,
    identity: dict[str, str],
    model: MethodConfig,
    load: _Loader,
) -> Outcome:
    made_from: dict[str, InputRef] = dict(inputs_of(texts=source, run=run))
    if "classes" in source.manifest.inputs:
        made_from["classes"] = source.manifest.inputs["classes"]
    provenance = Provenance(
        kind="text_embeddings",
        name=source.manifest.name,
        config={
            "clip": identity,
            "corpus": source.manifest.config["corpus"],
            CODE: method_code(model.name),
        },
        inputs=made_from,
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    together = model.texts_see_each_other
    parts = iter([source.read()]) if together else source.parts()
    embedder, count = load.model(), 0
    with closing(store.draft(provenance)) as draft:
        for number, part in enumerate(parts):
            table = part.filter(pc.not_equal(part["source"], "description"))
            features_KD = text_features(table).to(load.device)
            features_KD = _embedded(embedder, features_KD, model, source, run)
            norms_K = features_KD.norm(dim=-1)
            column = table.schema.get_field_index("feature_norm")
            table = table.drop_columns("embedding").set_column(
                column, table.field(column), pa.array(norms_K.double().cpu().numpy())
            )
            units_KD = (features_KD / norms_K[:, None]).cpu().numpy()
            draft.write(append_tensor(table, "embedding", units_KD), number)
            count += table.num_rows
        facts = {}
        if embedder.log_scale is not None:
            facts["logit_scale"] = float(embedder.log_scale.detach().exp())
        artifact = draft.publish({"texts": count}, facts)
    return Outcome(artifact, made=True, work={"texts_encoded": count})


@torch.no_grad()
def _embedded(
    method: Method, features_KD: torch.Tensor, model: MethodConfig, source: Artifact, run: Artifact
) -> torch.Tensor:
    """(K, D) texts as the run compares them at test, not normalised."""
    if not model.texts_see_each_other:
        passes = torch.split(features_KD, TEXTS_PER_PASS)
        return torch.cat([method.embed_texts(each) for each in passes])
    if len(features_KD) > CONTEXT_TEXTS:
        raise ValueError(
            f"{source.ref} has {len(features_KD)} texts, of which {run.ref} sees at most "
            f"{CONTEXT_TEXTS} together; "
            + (model.without("context") or "mine with a run that sees each alone")
        )
    return method.embed_texts(features_KD)
