"""A run of a method that reads the role that training/models/README.md adds: `test_new_role`."""

import sys
from dataclasses import replace

from artifacts.store import Store
from flows.orchestration.train_inputs import train_inputs
from tests.training.world import World
from training.config.run import RunConfig
from training.data.checks import problems
from training.data.inputs import own_inputs
from training.data.roles import ROLES, roles_read
from training.launch.launch import InputRefs
from training.models.mgdm.config import MgdmConfig


class Graph(MgdmConfig):
    """Reads it beside what MGDM reads."""

    def reads(self):
        return (*super().reads(), "cooccurrence")


def main(directory):
    world, config = World(directory), RunConfig(model=Graph(), data={"num_frames": 4})

    def found():
        return train_inputs(world.store, "toy", config, None, None)[0]

    [missing] = [str(each) for each in problems(found(), config)]
    expected = f"mgdm needs cooccurrence of {world.classes.ref}; run `actionlore extract`"
    assert missing == expected, missing

    first = world.publish("cooccurrence", [], {"number": 1}, classes=world.classes)
    newest = world.publish("cooccurrence", [], {"number": 2}, classes=world.classes)
    other = world.store.get(world.corpus.manifest.inputs["classes"].ref)
    stale = world.publish("cooccurrence", [], {"number": 3}, name="other", classes=other)
    inputs = found()
    assert inputs.cooccurrence.ref == newest.ref != first.ref
    assert not list(problems(inputs, config))
    assert roles_read(config, training=False)[-1].name == "cooccurrence"
    assert inputs.used(config)["cooccurrence"].ref == str(newest.ref)
    assert InputRefs.of(inputs).read(Store(directory)).cooccurrence.ref == newest.ref

    mixed = [str(each) for each in problems(replace(inputs, cooccurrence=stale), config)]
    assert len(mixed) == 1, mixed
    assert f"{stale.ref} was made from {other.ref}" in mixed[0]
    assert mixed[0].endswith("run `actionlore extract` again")
    [kind] = problems(replace(inputs, cooccurrence=world.frames), config)
    assert "was given as cooccurrence, which must be cooccurrence" in str(kind)

    used = {name: inputs.of(ROLES[name])[0] for name in ("classes", "videos", "texts")}
    run = world.publish("training_run", [], {}, cooccurrence=newest, **used)
    assert own_inputs(world.store, run).cooccurrence.ref == newest.ref


if __name__ == "__main__":
    main(sys.argv[1])
