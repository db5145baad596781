"""What two processes find together, for `test_distributed`; `python ... DIRECTORY RANK SIZE`.

Each process makes the same world for itself. With size 1 it finds what the two should.
"""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

import torch
import torch.distributed as dist
from safetensors.torch import save_file

from artifacts.store import Store
from tests.training.runs import FITTED, config_of, gradients, start
from tests.training.world import World
from training.distributed.group import Group, current_group
from training.evaluation.evaluate import evaluate
from training.evaluation.scoring import Pass, scored
from training.launch.launch import InputRefs
from training.loop.epochs import own_batches, train_epoch, train_step
from training.loop.optimizer import trained_parameters
from training.loop.trainer import train
from training.models import weights

SPLITS = {"train": 5, "val": 2, "test": 3}
"""30 training videos."""
CASES = {
    "odd batches, a smaller last one": ("mgdm", ["optim.batch_size=7"], ()),
    "a last batch for one process only": ("mgdm", ["optim.batch_size=29"], ()),
    "parts": ("mgdm", ["optim.batch_size=13", "optim.micro_batch=2"], ()),
    "discriminator in the loss": ("mgdm, one context", ["optim.batch_size=9"], ()),
    "texts of ActionCLIP": ("actionclip", ["optim.batch_size=11", "optim.ema=0.9"], ()),
    "clipped gradients": ("mgdm", ["optim.batch_size=10", "optim.max_norm=0.01"], ()),
    "unreadable videos": (
        "mgdm",
        ["optim.batch_size=3"],
        tuple(f"train/c{c}/v{i}" for c in range(6) for i in range(3)),
    ),
}
"""Model, settings, ids of videos that only turn out unreadable when they are to be read."""


class Leaky:
    """A source of clips in which some videos cannot be read."""

    def __init__(self, source, missing):
        self.source, self.missing = source, set(missing)
        self.unreadable, self.num_decoded = {}, 0

    def stream(self, videos, order, draw):
        for index_B, clips in self.source.stream(videos, order, draw):
            keep = [videos.video_ids[i] not in self.missing for i in index_B.tolist()]
            for i, kept in zip(index_B.tolist(), keep, strict=True):
                if not kept:
                    self.unreadable[videos.video_ids[i]] = "damaged"
            self.num_decoded += sum(keep)
            if any(keep):
                yield index_B[keep], clips[keep]


def find(world, group):
    """Losses, gradients and weights of every case, and what scoring found, by name."""
    inputs = world.inputs(templates=world.publish_templates())
    found, told = {}, {}
    for name, (model, settings, missing) in CASES.items():
        run = start(inputs, config_of(*settings, model=model), group)
        run = replace(run, source=Leaky(run.source, missing))
        losses = []
        for batch in own_batches(run, 1, 0):
            loss = train_step(run, batch)
            if loss is not None:
                losses.append(loss)
                for key, gradient in gradients(run).items():
                    found[f"{name}/gradient {len(losses)} of {key}"] = gradient
        found[f"{name}/losses"] = torch.stack(losses)
        found |= {f"{name}/weights/{k}": v for k, v in run.state.method.state_dict().items()}
        assert len(trained_parameters(run.state.optimizer)) > 10
    run = start(inputs, config_of("optim.epochs=2", "eval.batch_size=4", model="mgdm"), group)
    train_epoch(run)
    told["row"] = run.state.rows
    videos = run.data.videos
    with torch.no_grad():
        protocols = run.state.method.eval().protocols(run.data.classes)
    lost = CASES["unreadable videos"][2]
    each = Pass(run.state.method, Leaky(run.source, lost), videos, protocols)
    result = scored(each, 3, 4, group)
    told["scored"] = [videos.video_ids[i] for i in result.index_N.tolist()]
    told["decoded"] = group.all_counts(each.source.num_decoded)
    for name in protocols:
        found[f"scored/{name}/positions"] = result.top_positions[name]
        found[f"scored/{name}/probabilities"] = result.top_probabilities[name]
    return found, told


def together(world, group):
    """A whole run and its score, in the first process's store."""
    refs = group.broadcast_object(InputRefs.of(world.inputs()).model_dump_json())
    store = Store(group.broadcast_object(world.store.root))
    inputs = InputRefs.model_validate_json(refs).read(store)
    run = train(store, inputs, config_of("optim.batch_size=7", "optim.epochs=2"), "t").artifact
    predictions, metrics = evaluate(store, run, inputs, "test")
    values = {
        f"{row['protocol']} {row['metric']}": row["value"]
        for row in metrics.artifact.read().to_pylist()
    }
    return {
        "losses": [round(row["loss"], 3) for row in run.read().to_pylist()],
        "videos": predictions.artifact.manifest.num_rows,
        "unreadable": values["mgdm/all unreadable"],
        "published": len(store.published()),
    }


def fitted(world, group):
    """What methods made in one pass learn, and what they report, by name."""
    refs = group.broadcast_object(InputRefs.of(world.inputs()).model_dump_json())
    store = Store(group.broadcast_object(world.store.root))
    inputs = InputRefs.model_validate_json(refs).read(store)
    found, told = {}, {}
    for name in FITTED:
        run = train(store, inputs, config_of(model=name), "f").artifact
        tensors = weights.load(run.read_file(weights.FILE), name).tensors
        found |= {f"fitted/{name}/{key}": tensor for key, tensor in tensors.items()}
        told[name] = {
            key: value
            for key, value in run.manifest.report.items()
            if key not in ("processes", "duration_s")
        }
    return found, {"fitted": told}


def exchange(group):
    """What the group's own operations give."""
    device = torch.device("cpu")
    mine = torch.arange(3 * group.rank, 3 * group.rank + 1 + group.rank)[:, None].repeat(1, 2)
    counts = group.all_counts(len(mine))
    rows = {
        "int": group.all_gather(mine, counts).tolist(),
        "bool": group.all_gather(mine % 2 == 0, counts).tolist(),
        "float": group.all_gather(mine.double(), counts).tolist(),
    }
    parameters = [torch.nn.Parameter(torch.zeros(2)) for _ in range(3)]
    parameters[0].grad = torch.full((2,), 1.0 + group.rank)
    if group.rank:
        parameters[1].grad = torch.ones(2)
    group.sum_gradients(parameters)
    sums = [None if p.grad is None else p.grad.tolist() for p in parameters]
    tensor = torch.full((2,), float(group.rank), device=device)
    group.broadcast([tensor])
    said = group.all_gather_object({"rank": group.rank, "text": "x" * group.rank})
    return {"counts": counts, "rows": rows, "sums": sums, "first": tensor.tolist(), "said": said}


def main():
    directory, rank, size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    group, told = Group(), {}
    if size > 1:
        os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1"}
        store = dist.FileStore(str(directory / "rendezvous"), size)
        dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
        group = current_group(torch.device("cpu"))
        told["exchange"] = exchange(group)
    world = World(directory / f"world{size}-{rank}", num_classes=6, dim=16, splits=SPLITS)
    found, facts = find(world, group)
    told["together"] = together(world, group)
    learnt, said = fitted(world, group)
    found, told = found | learnt, told | said
    save_file(found, directory / f"{size}-{rank}.safetensors")
    (directory / f"{size}-{rank}.json").write_text(json.dumps(told | facts))
    if size > 1:
        dist.destroy_process_group()


if __name__ == "__main__":
    main()
