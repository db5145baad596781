"""A small MGDM, and random clips with their texts."""

import torch

from training.config.overrides import override
from training.config.run import RunConfig
from training.data.batch import Batch
from training.models.mgdm.config import MgdmConfig
from training.models.mgdm.model import Mgdm

SMALL = [
    "model.video_blocks=1",
    "model.discriminator.blocks=1",
    "model.negatives.k=2",
]


def config_of(*settings_):
    return override(RunConfig(model=MgdmConfig()), [*SMALL, *settings_]).model


def build(config, dim=8, frames=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Mgdm(config, dim, frames).double()


def batch_of(clips, texts_BRD, class_ids_BR, present_BR=None):
    names = tuple(str(i) for i in range(len(clips)))
    columns = {"texts_BRD": texts_BRD, "text_class_ids_BR": class_ids_BR}
    if present_BR is not None:
        columns["text_present_BR"] = present_BR
    return Batch(names, clips, class_ids_BR[:, 0], columns=columns)


def loss_of(model, batch):
    return model.losses(model.encode(batch))["loss"]


def make_pairs(b, k, T, D, num_classes, seed, missing=0.0, foreign=0.0):
    """Random clips and texts; classes repeat, and negatives can be other videos' positives."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, dtype=torch.float64, generator=generator)

    def chance(share):
        return torch.rand(b, 1 + k, generator=generator) < share

    frames, texts = 4 * normal(b, T, D), 2 * normal(b, 1 + k, D)
    class_ids = torch.randint(num_classes, (b, 1 + k), generator=generator)
    clash = class_ids[:, 1:] == class_ids[:, :1]
    class_ids[:, 1:] = torch.where(clash, class_ids[:, 1:] + num_classes, class_ids[:, 1:])
    is_foreign, absent = chance(foreign), chance(missing)
    is_foreign[:, 0] = absent[:, 0] = False
    class_ids = torch.where(is_foreign | absent, -1, class_ids)
    return batch_of(frames, texts, class_ids, ~absent if missing else None)
