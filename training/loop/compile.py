"""torch.compile for the part of a step that runs the model."""

from __future__ import annotations

import functools

import torch

from training.data.batch import Batch
from training.loop.step import Encode
from training.models.method import Encoded, TrainedMethod


def compiled(method: TrainedMethod) -> Encode:
    """`method.encode`, compiled at its first call.

    Raises:
        ValueError: when it is called: it cannot be compiled here, e.g. without a C++ compiler.
    """
    encode = torch.compile(method.encode)

    @functools.wraps(method.encode)
    def checked(batch: Batch) -> Encoded:
        try:
            return encode(batch)
        except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(
                f"the model cannot be compiled here ({reason}); leave out compile=true"
            ) from error

    return checked
