"""Which parameters are trained, how they are moved, and a running mean of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from training.config.run import RunConfig
from training.models.method import Method, TrainedMethod


def checked_groups(method: TrainedMethod) -> dict[str, list[nn.Parameter]]:
    """The method's parameter groups, which must hold every trained parameter exactly once.

    Without any where every part is frozen or removed by the config.
    """
    groups = method.parameter_groups()
    grouped = [id(p) for group in groups.values() for p in group]
    trained = {id(p): name for name, p in method.named_parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped)), "a parameter is in two groups"
    lost = sorted(name for key, name in trained.items() if key not in set(grouped))
    assert not lost, f"in no group: {', '.join(lost)}"
    assert set(grouped) == trained.keys(), "a frozen parameter is in a group"
    return groups


def make_optimizer(method: TrainedMethod, config: RunConfig) -> torch.optim.Optimizer:
    """Adam or AdamW with one group per origin of the parameters, weight decay on all of them.

    Raises:
        ValueError: a group has no learning rate.
    """
    optim, lr_ratios = config.optim, config.model.lr_ratios(config.optim)
    groups = []
    for name, params in checked_groups(method).items():
        if name not in lr_ratios:
            raise ValueError(
                f"the method {config.model.name} has parameters in the group {name!r}, of which "
                f"{type(config.model).__name__}.lr_ratios has no learning rate; it has "
                f"{', '.join(lr_ratios)}: add it, or use one of these in parameter_groups"
            )
        if params:
            peak_lr = optim.lr * lr_ratios[name]
            groups.append({"params": params, "lr": peak_lr, "peak_lr": peak_lr})
    groups = groups or [{"params": [], "lr": optim.lr, "peak_lr": optim.lr}]  # nothing is trained
    kind = torch.optim.AdamW if optim.optimizer == "adamw" else torch.optim.Adam
    return kind(
        groups,
        lr=optim.lr,
        betas=optim.betas,
        eps=optim.eps,
        weight_decay=optim.weight_decay,
        fused=True,  # one pass over the parameters: a third of the time, on a CPU too
    )


def trained_parameters(optimizer: torch.optim.Optimizer) -> list[nn.Parameter]:
    """All parameters it moves, in its order."""
    return [p for group in optimizer.param_groups for p in group["params"]]


def apply_gradients(
    optimizer: torch.optim.Optimizer, factor: float, max_norm: float | None
) -> torch.Tensor | None:
    """Move the parameters at a share of their peak learning rates.

    Returns:
        The gradients' norm before they were scaled down to `max_norm`; None without one.
    """
    norm = None
    if max_norm is not None:
        norm = nn.utils.clip_grad_norm_(trained_parameters(optimizer), max_norm)
    for group in optimizer.param_groups:
        group["lr"] = group["peak_lr"] * factor
    optimizer.step()
    return norm


class WeightAverage:
    """Exponential mean of a method's weights, which starts as the weights themselves."""

    def __init__(self, method: Method, decay: float) -> None:
        self.decay = decay
        self.tensors = {name: tensor.clone() for name, tensor in method.trained_state().items()}

    @torch.no_grad()
    def update(self, method: Method) -> None:
        """Set it to decay * mean + (1 - decay) * weights; integers are taken over as they are."""
        for name, tensor in method.trained_state().items():
            if tensor.is_floating_point():
                self.tensors[name].lerp_(tensor, 1 - self.decay)
            else:
                self.tensors[name].copy_(tensor)

    @contextmanager
    def in_place(self, method: Method) -> Iterator[None]:
        """The method with the mean as its weights, for as long as the context lasts."""
        own = {name: tensor.clone() for name, tensor in method.trained_state().items()}
        method.load_state_dict(self.tensors, strict=False)
        try:
            yield
        finally:
            method.load_state_dict(own, strict=False)
