"""A published artifact, read and verified against its manifest."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.kinds import schema_of
from artifacts.provenance import MANIFEST, ArtifactRef, Manifest, content_hash
from artifacts.validation import check

SMALL_PART = 1 << 20
"""Bytes of a part up to which one thread reads it, which is as fast. A process that ends while
Arrow's threads start is aborted, its work done: of scripts that read 4 kB with threads and ended,
60 of 250 were, without them none (pyarrow 26)."""


class CorruptArtifactError(ValueError):
    """A stored file is not what its manifest says."""


class ReadableStore(Protocol):
    """The store an artifact is in, as far as the artifact and its readers need it."""

    drafts: Path
    """Local directory for what is not published."""

    def directory(self, ref: ArtifactRef) -> str:
        """Where an artifact with a full ref lives."""

    def open(self, path: str) -> IO[bytes]:
        """Open a stored file for reading."""

    def get(self, ref: ArtifactRef | str) -> Artifact:
        """The artifact of a ref."""

    def use(self, artifact: Artifact) -> None:
        """Make an artifact the one that its name means."""

    def num_named(self, ref: ArtifactRef) -> int:
        """How many artifacts a ref's name alone could mean."""

    def used_at(self, artifact: Artifact) -> str:
        """When an artifact was last made or found by a command; ISO 8601 in UTC."""


@dataclass(frozen=True)
class Artifact:
    """A published artifact; reading it verifies it."""

    store: ReadableStore
    manifest: Manifest

    @property
    def ref(self) -> ArtifactRef:
        """The full ref."""
        return self.manifest.ref

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """All rows.

        Raises:
            CorruptArtifactError: a file is missing, changed or damaged.
            ValueError: it was stored under another version of its schema.
        """
        return pa.concat_tables(self.parts(columns))

    def parts(
        self, columns: list[str] | None = None, start: int = 0, stop: int | None = None
    ) -> Iterator[pa.Table]:
        """All rows, or those from `start` to `stop`, one Parquet part in memory at a time.

        Raises:
            CorruptArtifactError: as for `read`.
            ValueError: as for `read`.
        """
        schema = schema_of(self.manifest.kind)
        if self.manifest.schema_version != schema.version:
            raise ValueError(
                f"{self.ref} has version {self.manifest.schema_version} of its schema, "
                f"now it is {schema.version}; run `{schema.command}` again"
            )
        first = 0
        for entry in self.manifest.files:
            if entry.num_rows is None:
                continue
            low = max(start - first, 0)
            high = entry.num_rows if stop is None else min(stop - first, entry.num_rows)
            first += entry.num_rows
            if low < high or (start == 0 and stop is None):
                yield self._read_part(entry.name, columns).slice(low, high - low)

    def read_file(self, name: str) -> bytes:
        """Bytes of a file, after checking its SHA-256.

        Raises:
            CorruptArtifactError: as for `read`.
            ValueError: the artifact has no such file.
        """
        entry = next((entry for entry in self.manifest.files if entry.name == name), None)
        if entry is None:
            known = ", ".join(item.name for item in self.manifest.files)
            raise ValueError(f"{self.ref} has no file {name!r}; it has {known}")
        with self.opened(name) as file:
            data: bytes = file.read()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise self._corrupt(name, "its SHA-256 differs from the manifest")
        return data

    def verify(self) -> None:
        """Read every file and compare it with the manifest, every table with its schema.

        A manifest made before manifests had a SHA-256 of their own has `manifest.sha256` None: what
        it says beside files, config and inputs cannot be checked.

        Raises:
            CorruptArtifactError: the first difference.
        """
        for entry in self.manifest.files:
            self.read_file(entry.name)
        with self.opened(MANIFEST) as file:
            written = file.read()
        if self.manifest.sha256 and written != self.manifest.text.encode():
            raise self._corrupt(MANIFEST, "changed after it was written")
        if content_hash(self.manifest.files, self.manifest.facts) != self.manifest.content_hash:
            raise self._corrupt(MANIFEST, "its content hash does not fit its files and facts")
        if self.manifest.recomputed_key != self.manifest.key:
            raise self._corrupt(MANIFEST, "its key does not fit its config and inputs")
        schema = schema_of(self.manifest.kind)
        if self.manifest.schema_version != schema.version:
            return  # its rows follow rules that are not known any more
        table = self.read()
        try:
            check(table, schema)
        except ValueError as error:
            raise self._corrupt("table", str(error)) from error

    def _read_part(self, name: str, columns: list[str] | None) -> pa.Table:
        data = self.read_file(name)
        try:
            return pq.read_table(
                pa.BufferReader(data),
                columns=columns,
                page_checksum_verification=True,
                use_threads=len(data) > SMALL_PART,
            )
        except (pa.ArrowException, OSError) as error:
            raise self._corrupt(name, str(error).splitlines()[0]) from error

    @contextlib.contextmanager
    def opened(self, name: str) -> Iterator[IO[bytes]]:
        """A file as it is on disk, not verified.

        Raises:
            CorruptArtifactError: it is missing.
        """
        try:
            with self.store.open(f"{self.store.directory(self.ref)}/{name}") as file:
                yield file
        except FileNotFoundError as error:
            raise self._corrupt(name, "the file is missing") from error

    def _corrupt(self, name: str, what: str) -> CorruptArtifactError:
        return CorruptArtifactError(
            f"{self.ref}: {name}: {what}; remove {self.store.directory(self.ref)} "
            "and run the job that made it again"
        )


@dataclass(frozen=True)
class Outcome:
    """What a job hands back: its artifact, whether it was made now, and the work that took."""

    artifact: Artifact
    made: bool
    work: Mapping[str, int] = field(default_factory=dict)
    """Counts such as `llm_calls`, `videos_decoded`, `frames_encoded`; empty when found by key."""
