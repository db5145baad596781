"""Curves for TensorBoard, an optional extra; the metrics that count are artifacts."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


class Writer:
    """Writes scalars under a directory; does nothing without one."""

    def __init__(self, directory: Path | None) -> None:
        """Open it.

        Raises:
            ValueError: TensorBoard is not installed.
        """
        self.writer = None
        if directory is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise ValueError(
                "TensorBoard is not installed; run `pip install actionlore[tensorboard]`, "
                "or leave the directory for it out"
            ) from error
        self.writer = SummaryWriter(str(directory))

    def show(self, step: int, values: Mapping[str, float | None]) -> None:
        """Add a point to each curve that has a value."""
        for name, value in values.items():
            if self.writer is not None and value is not None:
                self.writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is left."""
        if self.writer is not None:
            self.writer.close()
