"""Videos and texts as a trained run sees them, so that negatives can be mined anew with it.

The artifacts are of the same kinds as frozen CLIP's, so mining needs to know nothing of runs. Their
`clip` identity names the run, and texts keep their ids.

Legend: B videos, T frames, D embedding, K texts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import torch
import torch.nn.functional as F

from artifacts.artifact import Artifact, Outcome
from artifacts.kinds import schema_of
from artifacts.provenance import InputRef, Provenance, inputs_of
from artifacts.store import Store
from artifacts.tensors import append_tensor
from training.config.run import RunConfig
from training.data.class_list import read_classes, text_features
from training.data.inputs import TrainInputs, clip_identity
from training.data.order import chunks
from training.data.run_data import read_videos
from training.data.sources import CachedClips
from training.evaluation.evaluate import load_run
from training.layers.losses import full_precision
from training.models import weights as checkpoint
from training.models.build import assemble, default_device
from training.models.mgdm.config import MgdmConfig
from training.models.mgdm.model import Mgdm

CONTEXT_TEXTS = 4096
"""Most texts that the discriminator may see together; a corpus of more needs the context `self`."""

TEXTS_PER_PASS = 1024


def reembed(
    store: Store,
    run: Artifact,
    inputs: TrainInputs,
    splits: Sequence[str] = ("train",),
    progress: Callable[[int, int], None] | None = None,
    device: str | None = None,
) -> tuple[list[Outcome], Outcome]:
    """Embed videos and texts with a trained MGDM.

    A video is what the loss compares with its negatives (eq. 4): its frames after the video
    representer, attended to under its own class's prompt (eq. 15-16); unit length, as everywhere,
    which changes no order of texts. A text is what the discriminator makes of it in the run's
    inference context, within its own list.

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
            text it is compared with (model.guide=own), or a corpus too long for its context.
    """
    saved, config = load_run(run, inputs)
    if not isinstance(config.model, MgdmConfig):
        raise ValueError(  # noqa: TRY004
            f"{run.ref} is of {config.model.name}; negatives can be mined with runs of mgdm"
        )
    if config.model.guide == "own":
        raise ValueError(
            f"{run.ref} has model.guide=own: its video embedding is another one for each text; "
            "mine with a run of model.guide=positive"
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
        self._model: Mgdm | None = None

    def model(self) -> Mgdm:
        """In evaluation mode."""
        if self._model is None:
            model, self.source = assemble(self.inputs, self.config, self.cached, self.device)
            assert isinstance(model, Mgdm)
            checkpoint.restore(model, self.saved.tensors, set(model.trained_state()))
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
    progress: Callable[[int, int], None] | None,
) -> Outcome:
    cached = inputs.frames if load.cached is not None else None
    provenance = Provenance(
        kind="frame_embeddings",
        name=inputs.videos.manifest.name,
        config={"clip": identity, "splits": sorted(splits)},
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
def _embed(model: Mgdm, clips: torch.Tensor, guides_BD: torch.Tensor) -> npt.NDArray[np.float32]:
    """(B, D) video embeddings, not normalised."""
    with torch.autocast(clips.device.type, torch.bfloat16, enabled=clips.is_cuda):
        frames_BTD = model.represent(model.features(clips))
    videos_BD = guided_videos(model, full_precision(frames_BTD), full_precision(guides_BD))
    return np.asarray(videos_BD.cpu().numpy())


def guided_videos(head: Mgdm, frames_BTD: torch.Tensor, guides_BD: torch.Tensor) -> torch.Tensor:
    """(B, D): each video under the guidance of one text (eq. 15-16), or its mean frame without.

    Args:
        head: the model, for its settings.
        frames_BTD: after the video representer.
        guides_BD: CLIP features of the guiding texts.
    """
    att = head.config.att
    if head.config.no_video_representer or att.normalize:
        frames_BTD = F.normalize(frames_BTD, dim=-1)
    if head.config.no_video_representer:
        return frames_BTD.mean(dim=1)
    if att.normalize:
        guides_BD = F.normalize(guides_BD, dim=-1)
    logits_BT = torch.einsum("btd,bd->bt", frames_BTD, guides_BD) / att.temperature
    return torch.einsum("bt,btd->bd", logits_BT.softmax(dim=1), frames_BTD)


def _texts(
    store: Store,
    run: Artifact,
    source: Artifact,
    identity: dict[str, str],
    model: MgdmConfig,
    load: _Loader,
) -> Outcome:
    made_from: dict[str, InputRef] = dict(inputs_of(texts=source, run=run))
    if "classes" in source.manifest.inputs:
        made_from["classes"] = source.manifest.inputs["classes"]
    provenance = Provenance(
        kind="text_embeddings",
        name=source.manifest.name,
        config={"clip": identity, "corpus": source.manifest.config["corpus"]},
        inputs=made_from,
    )
    if found := store.find(provenance):
        return Outcome(found, made=False)
    if model.no_discriminator or model.inference_context == "self":
        parts = source.parts()
    else:
        parts = iter([source.read()])
    head, count = load.model(), 0
    with closing(store.draft(provenance)) as draft:
        for number, part in enumerate(parts):
            table = part.filter(pc.not_equal(part["source"], "description"))
            features_KD = _discriminated(head, text_features(table).to(load.device), source, run)
            norms_K = features_KD.norm(dim=-1)
            column = table.schema.get_field_index("feature_norm")
            table = table.drop_columns("embedding").set_column(
                column, table.field(column), pa.array(norms_K.double().cpu().numpy())
            )
            units_KD = (features_KD / norms_K[:, None]).cpu().numpy()
            draft.write(append_tensor(table, "embedding", units_KD), number)
            count += table.num_rows
        scale = float(head.logit_scale.detach().exp())
        artifact = draft.publish({"texts": count, "logit_scale": scale})
    return Outcome(artifact, made=True, work={"texts_encoded": count})


@torch.no_grad()
def _discriminated(
    head: Mgdm, features_KD: torch.Tensor, source: Artifact, run: Artifact
) -> torch.Tensor:
    """(K, D) texts as the run compares them at test, not normalised."""
    if head.discriminator is None or head.config.inference_context == "self":
        passes = torch.split(features_KD, TEXTS_PER_PASS)
        return torch.cat([head.class_texts(each).embeddings_KD for each in passes])
    if len(features_KD) > CONTEXT_TEXTS:
        raise ValueError(
            f"{source.ref} has {len(features_KD)} texts, and the discriminator of {run.ref} sees "
            f"at most {CONTEXT_TEXTS} together; mine with a run of model.inference_context=self"
        )
    return head.class_texts(features_KD).embeddings_KD
