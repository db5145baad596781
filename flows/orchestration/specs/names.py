"""Names of artifacts, as flows are given them."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator


def bare_name(text: str, *kinds: str) -> str:
    """NAME or NAME@KEY of an artifact that was given so, or as KIND/NAME.

    Args:
        text: what was given.
        kinds: those that fit.

    Raises:
        ValueError: it is of another kind.
    """
    kind, slash, name = text.rpartition("/")
    if slash and kind not in kinds:
        raise ValueError(
            f"{text} is no {' or '.join(kinds)}; give NAME or NAME@KEY of one, or {kinds[0]}/NAME"
        )
    return name


RunName = Annotated[str, AfterValidator(lambda text: bare_name(text, "training_run"))]
"""NAME (the one used last) or NAME@KEY of a `training_run`, also behind the kind."""

MinedName = Annotated[str, AfterValidator(lambda text: bare_name(text, "negatives", "videos"))]
"""The same of `negatives`, or of `videos` where nothing has to be mined."""

VideosName = Annotated[str, AfterValidator(lambda text: bare_name(text, "videos"))]
"""The same of `videos`."""

ClassesName = Annotated[str, AfterValidator(lambda text: bare_name(text, "classes", "videos"))]
"""The same of `classes`, or of their dataset."""
