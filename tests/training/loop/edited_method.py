"""Trains the method `adapter` of a folder in a fresh process, and tells what happened as JSON.

    python edited_method.py FOLDER_OF_METHODS STORE INPUTS STOP_AT_STEP

INPUTS is a file with `InputRefs`; at step STOP_AT_STEP, if there is one, the run is interrupted.
"""

import json
import sys
from pathlib import Path

import training.models
from artifacts.store import Store
from training.config.overrides import override
from training.config.runtime import RuntimeOptions
from training.launch.launch import InputRefs
from training.loop.earlier import made_by_other_code
from training.loop.trainer import train
from training.models.registry import recipe


def main(methods, root, refs, stop_at):
    training.models.__path__.append(methods)
    store = Store(root)
    inputs = InputRefs.model_validate_json(Path(refs).read_text()).read(store)
    quick = ["data.num_frames=4", "optim.epochs=2", "optim.warmup_epochs=1", "optim.batch_size=24"]
    config = override(recipe("adapter").config, quick)
    said = made_by_other_code(store, inputs.run_key(config, "t"))

    def told(step, _):
        if step == int(stop_at):
            raise KeyboardInterrupt

    runtime = RuntimeOptions(device="cpu", checkpoint_every_steps=1)
    try:
        outcome = train(store, inputs, config, "t", told, runtime)
    except KeyboardInterrupt:
        print(json.dumps({"said": said, "stopped": True}))
        return
    artifact = outcome.artifact
    facts = {"ref": str(artifact.ref), "made": outcome.made, "said": said}
    facts |= {"report": artifact.manifest.report["code"], "work": dict(outcome.work)}
    print(json.dumps(facts | {"code": artifact.manifest.config["code"]}))


if __name__ == "__main__":
    main(*sys.argv[1:])
