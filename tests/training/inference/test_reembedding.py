"""A trained run's embeddings: their products order texts as the run's own loss does."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from artifacts.tensors import read_tensor
from knowledge.mining.config import MiningConfig
from knowledge.mining.job import mine
from tests.training.world import World
from training.config.overrides import override
from training.data.batch import Batch
from training.data.checks import check_inputs
from training.data.class_list import read_classes, text_features
from training.data.sources import CachedClips
from training.inference.reembedding import CONTEXT_TEXTS, TEXTS_PER_PASS, reembed
from training.loop.trainer import train
from training.models import weights as checkpoint
from training.models.build import assemble
from training.models.registry import recipe

QUICK = ["data.num_frames=4", "optim.epochs=2", "optim.batch_size=24"]


def run_of(world, *settings):
    config = override(recipe("mgdm_small").config, [*QUICK, *settings])
    return train(world.store, world.inputs(), config, "toy").artifact, config


def load(world, run, config):
    inputs = world.inputs()
    classes, cached = read_classes(inputs.classes, inputs.texts), CachedClips(inputs.frames)
    model, _ = assemble(inputs, config, classes, cached, torch.device("cpu"))
    saved = checkpoint.load(run.read_file(checkpoint.FILE), "run")
    model.restore(saved.tensors)
    return model.eval()


VARIANTS = {
    "default": [],
    "self": ["model.inference_context=self"],
    "letter": ["model.att.normalize=false", "model.att.temperature=1.0"],
    "mean": ["model.no_video_representer=true", "model.video_blocks=6"],
    "frozen texts": ["model.no_discriminator=true"],
}


@pytest.mark.parametrize("settings", VARIANTS.values(), ids=VARIANTS)
def test_products_are_the_runs_own_similarities(world, settings):
    """Against `Mgdm.similarities` of eq. 4, with each text as the inference context gives it."""
    run, config = run_of(world, *settings)
    texts, frames = reembed(world.store, run, world.inputs(), device="cpu")
    table = frames.artifact.read()
    ids = table["video_id"].to_pylist()
    assert set(ids) == {video for video in world.labels if video.startswith("train/")}
    assert set(table["status"].to_pylist()) == {"ok"}
    videos_ND = read_tensor(table, "embedding")[:, 0].astype(np.float32)
    norms_N1 = read_tensor(table, "feature_norms")
    prompts = texts[0].artifact.read()
    assert prompts["text_id"].to_pylist() == [f"toy/{c}/prompt" for c in range(6)]
    head = load(world, run, config)
    scale = head.logit_scale.detach().exp().item()
    assert texts[0].artifact.manifest.facts["logit_scale"] == pytest.approx(scale)
    classes = read_classes(world.classes, world.texts)
    with torch.no_grad():
        seen = F.normalize(head.class_texts(classes.prompts_KD).embeddings_KD, dim=-1)
        np.testing.assert_allclose(read_tensor(prompts, "embedding"), seen, atol=1e-5)
        own_N = torch.tensor([world.labels[video_id] for video_id in ids])
        features = CachedClips(world.frames).fetch(ids)
        head.discriminator = None  # the texts are what it made of them
        logits_NK = []
        for i, class_id in enumerate(own_N.tolist()):
            texts_BRD = torch.cat([classes.prompts_KD[class_id][None], seen])[None]
            batch = Batch(
                video_ids=(ids[i],),
                clips=features[i : i + 1],
                class_ids_B=own_N[i : i + 1],
                columns={
                    "texts_BRD": texts_BRD,
                    "text_class_ids_BR": torch.tensor([[class_id, *range(6)]]),
                },
            )
            logits_NK.append(head.similarities(head.encode(batch))[0, 0, 1:])
    expected = (torch.stack(logits_NK) / head.logit_scale.exp()).detach().numpy()
    found = videos_ND @ read_tensor(prompts, "embedding").T
    np.testing.assert_allclose(found, expected / norms_N1, atol=1e-3)


def test_negatives_are_mined_and_trained_on_without_a_special_case(world):
    run, config = run_of(world, "model.negatives.corpus=union")
    texts, frames = reembed(world.store, run, world.inputs(), device="cpu")
    assert [each.artifact.manifest.name for each in texts] == ["toy", "other"]
    again = reembed(world.store, run, world.inputs(), device="cpu")
    assert not any(each.made for each in (*again[0], again[1]))
    embedded = [each.artifact for each in texts]
    args = (world.store, world.videos, frames.artifact, embedded, MiningConfig(top_k=8))
    mined = mine(*args).artifact
    assert mined.manifest.inputs["run"].content_hash == run.manifest.content_hash
    inputs = world.inputs(negatives=mined)
    check_inputs(inputs, config)
    second = train(world.store, inputs, config, "toy-again").artifact
    assert second.manifest.inputs["negatives"].content_hash == mined.manifest.content_hash
    texts = world.publish_texts("toy", world.classes, world.texts_KD[::-1], (0, 2))
    with pytest.raises(ValueError, match=r"negatives/toy@\w+ was mined among"):
        check_inputs(world.inputs(negatives=mined, texts=texts), config)
    with pytest.raises(ValueError, match=r"negatives/toy@\w+ was made from frame_embeddings"):
        check_inputs(world.inputs(negatives=mined, frames=world.publish_frames()), config)


def test_unreadable_videos_have_no_embedding_and_are_counted(tmp_path):
    world = World(tmp_path, broken=("train/c0/v0",))
    run, _ = run_of(world)
    _, frames = reembed(world.store, run, world.inputs(), ("train", "val"), device="cpu")
    report = frames.artifact.manifest.report
    assert (report["videos"], report["videos_skipped"]) == (12 * 6 - 1 + 4 * 6, 1)
    assert "train/c0/v0" not in frames.artifact.read()["video_id"].to_pylist()


def test_runs_that_give_no_single_embedding_are_refused(world):
    run, _ = run_of(world, "model.guide=own")
    with pytest.raises(ValueError, match=r"model.guide is own.*mine with a run of"):
        reembed(world.store, run, world.inputs())
    run, _ = run_of(world, "optim.lr=1e-4")
    inputs = world.inputs(corpora=(corpus_of(world, CONTEXT_TEXTS + 1),))
    with pytest.raises(ValueError, match=r"has 4097 texts.*model.inference_context=self"):
        reembed(world.store, run, inputs, device="cpu")


def corpus_of(world, num_texts):
    """A further corpus of so many texts."""
    rows = np.random.default_rng(0).normal(size=(num_texts, world.foreign_ND.shape[1]))
    classes = world.publish_classes("many", num_texts)
    units = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return world.publish_texts("many", classes, units.astype(np.float32))


def test_a_long_corpus_is_embedded_in_passes(world):
    run, _ = run_of(world, "model.inference_context=self")
    assert CONTEXT_TEXTS > TEXTS_PER_PASS
    corpus = corpus_of(world, CONTEXT_TEXTS + 1)
    texts, _ = reembed(world.store, run, world.inputs(corpora=(corpus,)), device="cpu")
    head = load(
        world, run, override(recipe("mgdm_small").config, [*QUICK, "model.inference_context=self"])
    )
    with torch.no_grad():
        features = text_features(corpus.read())
        expected = F.normalize(head.class_texts(features).embeddings_KD, dim=-1)
    found = read_tensor(texts[1].artifact.read(), "embedding")
    np.testing.assert_allclose(found, expected, atol=1e-6)
