"""The write-once store: atomic publication, verified reading, finding by key.

An artifact is built in a draft directory that survives a crash (complete parts are kept), then
published in one rename with its manifest written last. Readers see everything or nothing. On object
stores (any fsspec URL), which have no rename, the manifest's upload is the moment of publication.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem
from pydantic import ValidationError

from artifacts.provenance import (
    KEY_LENGTH,
    ArtifactRef,
    FileEntry,
    Manifest,
    Provenance,
    content_hash,
)
from artifacts.schemas import SCHEMAS, schema_of
from artifacts.validation import check

MANIFEST = "manifest.json"
DRAFTS = ".drafts"
_RECORDED_LIBRARIES = ("actionlore", "pyarrow", "numpy", "torch", "open_clip_torch", "faiss-gpu")


class CorruptArtifactError(ValueError):
    """A stored file is not what its manifest says."""


@dataclass(frozen=True)
class Artifact:
    """A published artifact; reading it verifies it."""

    store: Store
    manifest: Manifest

    @property
    def ref(self) -> ArtifactRef:
        """The full ref."""
        return self.manifest.ref

    def read(self, columns: list[str] | None = None) -> pa.Table:
        """All rows.

        Raises:
            CorruptArtifactError: a file is missing, changed or damaged.
        """
        names = [entry.name for entry in self.manifest.files if entry.num_rows is not None]
        return pa.concat_tables([self._read_part(name, columns) for name in names])

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
        with self._opened(name) as file:
            data: bytes = file.read()
        if hashlib.sha256(data).hexdigest() != entry.sha256:
            raise self._corrupt(name, "its SHA-256 differs from the manifest")
        return data

    def verify(self) -> None:
        """Read every file and compare it with the manifest, every table with its schema.

        Raises:
            CorruptArtifactError: the first difference.
        """
        for entry in self.manifest.files:
            self.read_file(entry.name)
        if content_hash(self.manifest.files) != self.manifest.content_hash:
            raise self._corrupt(MANIFEST, "its content hash does not fit its files")
        origin = self.manifest.model_dump(include=set(Provenance.model_fields))
        if Provenance(**origin).key != self.manifest.key:
            raise self._corrupt(MANIFEST, "its key does not fit its config and inputs")
        try:
            check(self.read(), schema_of(self.manifest.kind))
        except CorruptArtifactError:
            raise
        except ValueError as error:
            raise self._corrupt("table", str(error)) from error

    def _read_part(self, name: str, columns: list[str] | None) -> pa.Table:
        data = self.read_file(name)
        try:
            return pq.read_table(
                pa.BufferReader(data), columns=columns, page_checksum_verification=True
            )
        except (pa.ArrowException, OSError) as error:
            raise self._corrupt(name, str(error).splitlines()[0]) from error

    @contextlib.contextmanager
    def _opened(self, name: str) -> Iterator[IO[bytes]]:
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


class Draft:
    """An artifact in the making; its key fixes its directory, so a later run goes on with it."""

    def __init__(self, store: Store, provenance: Provenance, directory: Path) -> None:
        self.store = store
        self.provenance = provenance
        self.directory = directory
        directory.mkdir(parents=True, exist_ok=True)

    def has(self, part: int) -> bool:
        """Whether a part is complete, from here or an earlier run; a damaged one is dropped."""
        path = self.directory / part_name(part)
        if not path.exists():
            return False
        try:
            pq.read_table(path, page_checksum_verification=True)
        except (pa.ArrowException, OSError):
            path.unlink()
            return False
        return True

    def read(self, columns: list[str]) -> pa.Table:
        """Rows of the parts written so far."""
        parts = sorted(self.directory.glob("part-*.parquet"))
        return pa.concat_tables([pq.read_table(part, columns=columns) for part in parts])

    def write(self, table: pa.Table, part: int = 0) -> None:
        """Check and store one Parquet part, durably and in one step.

        Raises:
            ValueError: the table does not fit the schema of the kind.
        """
        schema = schema_of(self.provenance.kind)
        check(table, schema)
        plain = [column.name for column in schema.columns if not column.is_tensor]
        with self._replacing(part_name(part)) as file:
            pq.write_table(
                table,
                file,
                compression={
                    name: "zstd" if name in plain else "none" for name in table.column_names
                },
                use_dictionary=plain,
                write_page_checksum=True,
            )

    def write_file(self, name: str, data: bytes) -> None:
        """Store a file beside the table.

        Raises:
            ValueError: the kind has no such file.
        """
        allowed = schema_of(self.provenance.kind).files
        if name not in allowed:
            raise ValueError(f"{self.provenance.kind} has no file {name!r}; allowed: {allowed}")
        with self._replacing(name) as file:
            file.write(data)

    def publish(self, report: Mapping[str, Any] | None = None) -> Artifact:
        """Make the artifact visible.

        Raises:
            ValueError: the key exists with other content, or a key column repeats over the parts.
        """
        return self.store._publish(self, dict(report or {}))

    @contextlib.contextmanager
    def _replacing(self, name: str) -> Iterator[IO[bytes]]:
        temporary = self.directory / f".{name}.{uuid.uuid4().hex}"
        try:
            with temporary.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.directory / name)
            _fsync_directory(self.directory)
        finally:
            temporary.unlink(missing_ok=True)


class Store:
    """Artifacts under one root: a directory or any fsspec URL."""

    def __init__(self, root: str | Path) -> None:
        """Open a store; nothing is created before the first write.

        Raises:
            ValueError: no file system of that protocol is installed.
        """
        try:
            self.fs, path = fsspec.core.url_to_fs(str(root))
        except (ValueError, ImportError) as error:
            raise ValueError(f"store {str(root)!r}: {error}") from error
        self.root: str = path.rstrip("/")
        self.is_local = isinstance(self.fs, LocalFileSystem)
        if self.is_local:
            self.drafts = Path(self.root) / DRAFTS
        else:
            digest = hashlib.sha256(str(root).encode()).hexdigest()[:KEY_LENGTH]
            self.drafts = Path(tempfile.gettempdir()) / f"actionlore-drafts-{digest}"

    def directory(self, ref: ArtifactRef) -> str:
        """Where an artifact with a full ref lives."""
        return f"{self.root}/{ref}"

    def open(self, path: str) -> IO[bytes]:
        """Open a stored file for reading."""
        return cast("IO[bytes]", self.fs.open(path, "rb"))

    def find(self, provenance: Provenance) -> Artifact | None:
        """The artifact of exactly this provenance, or None.

        Raises:
            CorruptArtifactError: its manifest cannot be read or belongs to another key.
        """
        return self._load(provenance.ref)

    def get(self, ref: ArtifactRef | str) -> Artifact:
        """The artifact of a ref; without a key the newest of that name.

        Raises:
            ValueError: there is none, or the key's beginning fits several.
        """
        if isinstance(ref, str):
            ref = ArtifactRef.parse(ref)
        found = [
            artifact
            for artifact in self.published(ref.kind)
            if artifact.manifest.name == ref.name
            and artifact.manifest.key.startswith(ref.key or "")
        ]
        if not found:
            known = ", ".join(str(a.ref) for a in self.published(ref.kind)) or "none"
            raise ValueError(
                f"no artifact {ref} in store {self.root}, which holds of this kind: {known}; "
                f"`{schema_of(ref.kind).command}` makes it"
            )
        if ref.key and len(found) > 1:
            raise ValueError(f"{ref} fits several: {', '.join(str(a.ref) for a in found)}")
        return max(found, key=lambda artifact: artifact.manifest.created)

    def published(self, kind: str | None = None) -> list[Artifact]:
        """Published artifacts, by kind, name and time.

        Raises:
            CorruptArtifactError: a manifest cannot be read.
        """
        kinds = [schema_of(kind).kind] if kind else sorted(SCHEMAS)
        found: list[Artifact] = []
        for each in kinds:
            for path in sorted(self.fs.glob(f"{self.root}/{each}/*@*/{MANIFEST}")):
                name = str(path).split("/")[-2]
                artifact = self._load(ArtifactRef.parse(f"{each}/{name}"))
                if artifact:
                    found.append(artifact)
        return sorted(found, key=lambda a: (a.manifest.kind, a.manifest.name, a.manifest.created))

    def draft(self, provenance: Provenance) -> Draft:
        """Begin or go on with an artifact."""
        name = f"{provenance.kind}@{provenance.key[:KEY_LENGTH]}"
        return Draft(self, provenance, self.drafts / name)

    def publish(
        self, provenance: Provenance, table: pa.Table, report: Mapping[str, Any] | None = None
    ) -> Artifact:
        """Write one table and publish it."""
        draft = self.draft(provenance)
        draft.write(table)
        return draft.publish(report)

    def gc(self, min_age_s: float) -> list[str]:
        """Remove what crashed jobs left: drafts and directories without manifest.

        Args:
            min_age_s: spare what was touched within this time.

        Returns:
            The removed directories.
        """
        removed = []
        orphans = list(self.drafts.iterdir()) if self.drafts.exists() else []
        if self.is_local:
            for kind in SCHEMAS:
                candidates = Path(self.root).glob(f"{kind}/*@*")
                orphans += [path for path in candidates if not (path / MANIFEST).exists()]
        for path in orphans:
            newest = max(item.stat().st_mtime for item in [path, *path.rglob("*")])
            if time.time() - newest >= min_age_s:
                shutil.rmtree(path)
                removed.append(str(path))
        return removed

    def _load(self, ref: ArtifactRef) -> Artifact | None:
        path = f"{self.directory(ref)}/{MANIFEST}"
        try:
            with self.open(path) as file:
                manifest = Manifest.model_validate_json(file.read())
        except FileNotFoundError:
            return None
        except ValidationError as error:
            raise CorruptArtifactError(
                f"{path}: not a manifest ({error.errors()[0]['msg']}); remove its directory "
                "and run the job that made it again"
            ) from error
        if str(manifest.ref) != str(ref):
            raise CorruptArtifactError(f"{path}: is the manifest of {manifest.ref}")
        return Artifact(self, manifest)

    def _publish(self, draft: Draft, report: dict[str, Any]) -> Artifact:
        provenance = draft.provenance
        files = [_entry(path) for path in sorted(draft.directory.iterdir()) if path.name[0] != "."]
        files = [entry for entry in files if entry.name != MANIFEST]
        manifest = Manifest(
            **provenance.model_dump(),
            key=provenance.key,
            schema_version=schema_of(provenance.kind).version,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            files=tuple(files),
            content_hash=content_hash(files),
            versions=_versions(),
            git_commit=_git_commit(),
            report=report,
        )
        existing = self.find(provenance)
        if existing is None:
            with draft._replacing(MANIFEST) as file:
                file.write(manifest.model_dump_json(indent=1).encode())
            existing = self._move(draft, manifest)
        if existing.manifest.content_hash != manifest.content_hash:
            raise ValueError(
                f"{manifest.ref} exists with other content "
                f"({existing.manifest.content_hash[:12]}, now {manifest.content_hash[:12]}); "
                f"it is kept as it is, the new one is in {draft.directory}"
            )
        shutil.rmtree(draft.directory, ignore_errors=True)
        return existing

    def _move(self, draft: Draft, manifest: Manifest) -> Artifact:
        """Publish; whoever comes first wins, and the winner is returned."""
        target = self.directory(manifest.ref)
        if self.is_local:
            Path(target).parent.mkdir(parents=True, exist_ok=True)
            try:
                draft.directory.rename(target)
            except OSError:
                if not (Path(target) / MANIFEST).exists():
                    raise
            _fsync_directory(Path(target).parent)
        else:
            for entry in manifest.files:
                self.fs.put_file(str(draft.directory / entry.name), f"{target}/{entry.name}")
            self.fs.put_file(str(draft.directory / MANIFEST), f"{target}/{MANIFEST}")
        published = self._load(manifest.ref)
        assert published is not None
        return published


def part_name(part: int) -> str:
    """File name of a Parquet part."""
    return f"part-{part:05d}.parquet"


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    return FileEntry(name=path.name, sha256=digest, num_bytes=path.stat().st_size, num_rows=rows)


def _fsync_directory(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _RECORDED_LIBRARIES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@cache
def _git_commit() -> str | None:
    """Commit of the source tree this code runs from; None when installed from a wheel."""
    here = Path(__file__).resolve().parent.parent
    if not (here / ".git").exists():
        return None
    try:
        done = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
