"""How whole pictures become the squares that a model sees; nothing heavy is imported."""

from __future__ import annotations

from typing import Literal

from artifacts.frozen import Frozen


class Resizing(Frozen):
    """How a picture becomes a square, as open_clip's preprocessing has it."""

    mode: Literal["shortest", "longest", "squash"] = "shortest"
    """The short side becomes the square's, and the centre is cut out; the long side does, and the
    rest is filled; or both do, whatever the picture's aspect."""
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    """Between pixels; always antialiased."""
    fill_color: int = 0
    """Byte value of what `longest` fills."""


SHORTEST = Resizing()
"""That of OpenAI's CLIP."""
