"""Kills of processes: a few in the tests of `make test`, many in those of `make torture`.

What starts several processes or servers for half a minute bears the marker itself.
"""

import pytest


def with_kills(few, many):
    """Parametrise a test by `num_kills`; only `pytest -m torture` runs it with `many`."""
    often = pytest.param(many, marks=pytest.mark.torture)
    return pytest.mark.parametrize("num_kills", [few, often])
