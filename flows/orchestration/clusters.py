"""Clusters that run the shards of a job: Dask's and Ray's own clients, entered as contexts.

What is sent to a worker is a function of one of our modules and its arguments; a worker that dies
is replaced, and its shard run again, by the cluster.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from artifacts.processes import import_environment_set

Work = Callable[..., dict[str, int]]
"""Makes a shard; gives the work that took."""
Run = Callable[[Work, Sequence[Mapping[str, Any]]], Iterator[dict[str, int]]]
"""Runs a function with the arguments of each shard; gives results as they come."""


@contextmanager
def dask(address: str | None, num_workers: int) -> Iterator[Run]:
    """A Dask cluster.

    Args:
        address: of its scheduler; one is started here when None.
        num_workers: of the cluster started here, with one thread each.

    Raises:
        ValueError: Dask is not installed.
    """
    distributed = _imported("distributed", "dask")
    with ExitStack() as stack:
        cluster: Any = address
        if address is None:
            with import_environment_set():
                cluster = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=num_workers, threads_per_worker=1, dashboard_address=None
                    )
                )
        client = stack.enter_context(distributed.Client(cluster))

        def run(work: Work, shards: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, int]]:
            futures = [client.submit(partial(work, **each), pure=False) for each in shards]
            try:
                for _, made in distributed.as_completed(futures, with_results=True):
                    yield made
            finally:
                client.cancel(futures)

        yield run


@contextmanager
def ray(address: str | None, num_workers: int) -> Iterator[Run]:
    """A Ray cluster.

    Args:
        address: of its head; one is started here when None.
        num_workers: cores of the cluster started here.

    Raises:
        ValueError: Ray is not installed.
    """
    library = _imported("ray", "ray")
    if address is None:
        with import_environment_set():
            library.init(num_cpus=num_workers, include_dashboard=False)
    else:
        library.init(address=address)

    def run(work: Work, shards: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, int]]:
        remote = library.remote(work)
        waiting = [remote.remote(**each) for each in shards]
        try:
            while waiting:
                [done], waiting = library.wait(waiting)
                yield library.get(done)
        finally:
            for each in waiting:
                library.cancel(each, force=True)

    try:
        yield run
    finally:
        library.shutdown()


def _imported(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ValueError(
            f"--runner {extra} needs {module} ({error}); pip install 'actionlore[{extra}]'"
        ) from error
