"""The write-once store: atomic publication, verified reading, finding by key.

An artifact is built in a draft directory that survives a crash (complete parts are kept), then
published in one rename with its manifest written last. Readers see everything or nothing. On object
stores (any fsspec URL), which have no rename, the manifest's upload is the moment of publication.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import logging
import shutil
import subprocess
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from artifacts.artifact import Artifact, CorruptArtifactError
from artifacts.draft import Draft
from artifacts.files import LOCK_WAIT_S, file_sha256, fsync, is_held, replacing
from artifacts.kinds import SCHEMAS, schema_of
from artifacts.provenance import (
    KEY_LENGTH,
    MANIFEST,
    ArtifactRef,
    FileEntry,
    Manifest,
    Provenance,
    content_hash,
)

DRAFTS = ".drafts"
USED = ".used"
"""Below it a file per artifact, `KIND/NAME@KEY`: when a command last made or found it."""
_LOG = logging.getLogger(__name__)
_RECORDED_LIBRARIES = ("actionlore", "pyarrow", "numpy", "torch", "open_clip_torch", "faiss-gpu")


class Store:
    """Artifacts under one root: a directory or any fsspec URL."""

    def __init__(self, root: str | Path, *, lock_wait_s: float = LOCK_WAIT_S) -> None:
        """Open a store; nothing is created before the first write.

        Args:
            root: directory, or URL (with `://`).
            lock_wait_s: how long other processes may hold a draft before this one is refused.

        Raises:
            ValueError: no file system of that protocol is installed.
        """
        try:
            if "://" in str(root):
                self.fs, path = fsspec.core.url_to_fs(str(root))
            else:  # a directory, whatever letters it has
                self.fs, path = LocalFileSystem(), Path(root).expanduser().absolute().as_posix()
        except (ValueError, ImportError) as error:
            raise ValueError(f"store {str(root)!r}: {error}") from error
        self.root: str = path.rstrip("/")
        self.lock_wait_s = lock_wait_s
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
        """The artifact of a ref; without a key the one of that name that was used last.

        Raises:
            ValueError: there is none, or the key's beginning fits several.
        """
        if isinstance(ref, str):
            ref = ArtifactRef.parse(ref)
        if ref.key and len(ref.key) >= KEY_LENGTH and (exact := self._load(ref)):
            return exact
        readable, damaged = self._scan(ref.kind)
        for other, error in damaged:
            if other.name == ref.name:
                raise error
        found = [
            artifact
            for artifact in readable
            if artifact.manifest.name == ref.name
            and artifact.manifest.key.startswith(ref.key or "")
        ]
        if not found:
            known = ", ".join(str(artifact.ref) for artifact in readable) or "none"
            raise ValueError(
                f"no artifact {ref} in store {self.root}, which holds of this kind: {known}; "
                f"`{schema_of(ref.kind).command}` makes it"
            )
        if ref.key and len(found) > 1:
            raise ValueError(f"{ref} fits several: {', '.join(str(a.ref) for a in found)}")
        return max(found, key=self.used_at) if len(found) > 1 else found[0]

    def use(self, artifact: Artifact) -> None:
        """Make an artifact the one that its name means: a command has made or found it.

        Each artifact has a mark of its own, so processes that use different ones at once lose
        nothing; the later one is meant. A store that cannot be written stays as it is, which is
        logged where the name means another artifact.
        """
        ref = artifact.ref
        now = datetime.now(UTC)
        for other in self._named(ref):  # whatever the clocks of other machines say
            if other.ref != ref:
                at = datetime.fromisoformat(self.used_at(other)) + timedelta(microseconds=1)
                now = max(now, at)
        path = f"{self.root}/{USED}/{ref}"
        try:
            self._write_mark(path, now.isoformat(timespec="microseconds"))
        except (OSError, NotImplementedError, ValueError) as error:
            if (meant := max(self._named(ref), key=self.used_at).ref) != ref:
                _LOG.warning(
                    "%s/%s goes on to mean %s, since store %s cannot be written (%s); give %s",
                    *(ref.kind, ref.name, meant, self.root, error, ref),
                )

    def used_at(self, artifact: Artifact) -> str:
        """When an artifact was published, or last made or found by a command; ISO 8601 in UTC."""
        created = artifact.manifest.created
        try:
            with self.open(f"{self.root}/{USED}/{artifact.ref}") as file:
                marked = file.read().decode()
            datetime.fromisoformat(marked)
        except (OSError, ValueError):  # no mark, or one that a power cut left empty
            return created
        return max(created, marked)

    def num_named(self, ref: ArtifactRef) -> int:
        """How many artifacts a ref's name alone could mean."""
        return len(self._named(ref))

    def published(self, kind: str | None = None) -> list[Artifact]:
        """Published artifacts whose manifest can be read, by kind, name and time."""
        return self._scan(kind)[0]

    def damaged(self, kind: str | None = None) -> list[CorruptArtifactError]:
        """One error for each artifact whose manifest cannot be read."""
        return [error for _, error in self._scan(kind)[1]]

    def draft(self, provenance: Provenance, *, shared: bool = False) -> Draft:
        """Begin or go on with an artifact, alone or beside other processes that share it.

        Raises:
            ValueError: another process is making it.
        """
        name = f"{provenance.kind}-{provenance.name}@{provenance.key[:KEY_LENGTH]}"
        return Draft(
            *(provenance, self.drafts / name, self._publish), shared=shared, wait_s=self.lock_wait_s
        )

    def publish(
        self,
        provenance: Provenance,
        table: pa.Table,
        report: Mapping[str, Any] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Artifact:
        """Write one table and publish it; see `Draft.publish`."""
        with contextlib.closing(self.draft(provenance)) as draft:
            draft.write(table)
            return draft.publish(report, facts)

    def gc(self, min_age_s: float) -> list[str]:
        """Remove what stopped jobs left, unless a process holds it.

        That is drafts, directories without a manifest, what was a draft's own (lock, checkpoints)
        beside the files of an artifact whose job was stopped while publishing, and the marks of
        artifacts that are gone.

        Args:
            min_age_s: spare what was touched within this time, at least 0.

        Returns:
            The removed directories and files.

        Raises:
            ValueError: a negative age.
        """
        if min_age_s < 0:
            raise ValueError(f"an age of {min_age_s:g} s is negative; give 0 or more")
        orphans = list(self.drafts.iterdir()) if self.drafts.exists() else []
        if self.is_local:
            for directory in (each for kind in SCHEMAS for each in self._directories(kind)):
                whole = (directory / MANIFEST).exists()
                orphans += directory.glob(".*") if whole else [directory]
            for mark in Path(self.root, USED).glob("*/*"):
                if not Path(self.root, mark.parent.name, mark.name, MANIFEST).exists():
                    orphans.append(mark)
        removed = []
        for path in orphans:
            held_by = path if path.is_dir() else path.parent
            if is_held(held_by) or time.time() - _touched(path) < min_age_s:
                continue
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            removed.append(str(path))
        return removed

    def _named(self, ref: ArtifactRef) -> list[Artifact]:
        """Readable artifacts of a ref's kind and name."""
        return self._scan(ref.kind, ref.name)[0]

    def _write_mark(self, path: str, text: str) -> None:
        """In one step; readers see the old content or the new."""
        if self.is_local:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            with replacing(Path(path), durable=False) as temporary:
                temporary.write_text(text, encoding="ascii")
        else:
            self.fs.pipe_file(path, text.encode())

    def _manifests(self, kind: str, name: str) -> list[str]:
        """Paths, whatever letters the root has; `name` may be `*`."""
        pattern = f"{kind}/{name}@*/{MANIFEST}"
        if self.is_local:
            return sorted(path.as_posix() for path in Path(self.root).glob(pattern))
        return sorted(map(str, self.fs.glob(f"{glob.escape(self.root)}/{pattern}")))

    def _directories(self, kind: str) -> list[Path]:
        """Of the artifacts of a kind, complete or not; of a local store."""
        return [path for path in sorted(Path(self.root).glob(f"{kind}/*@*")) if path.is_dir()]

    def _scan(
        self, kind: str | None, name: str = "*"
    ) -> tuple[list[Artifact], list[tuple[ArtifactRef, CorruptArtifactError]]]:
        """Readable artifacts, and the refs of the others with what is wrong."""
        found: list[Artifact] = []
        damaged: list[tuple[ArtifactRef, CorruptArtifactError]] = []
        for each in [schema_of(kind).kind] if kind else sorted(SCHEMAS):
            for path in self._manifests(each, name):
                ref = ArtifactRef.parse(f"{each}/{path.split('/')[-2]}")
                try:
                    found += [artifact] if (artifact := self._load(ref)) else []
                except CorruptArtifactError as error:
                    damaged.append((ref, error))
        found.sort(key=lambda a: (a.manifest.kind, a.manifest.name, a.manifest.created))
        return found, damaged

    def _load(self, ref: ArtifactRef) -> Artifact | None:
        path = f"{self.directory(ref)}/{MANIFEST}"
        try:
            with self.open(path) as file:
                manifest = Manifest.read(file.read())
        except FileNotFoundError:
            return None
        except ValueError as error:
            raise CorruptArtifactError(
                f"{path}: {error}; remove its directory and run the job that made it again"
            ) from error
        if str(manifest.ref) != str(ref):
            raise CorruptArtifactError(f"{path}: is the manifest of {manifest.ref}")
        return Artifact(self, manifest)

    def _publish(self, draft: Draft, report: dict[str, Any], facts: dict[str, Any]) -> Artifact:
        provenance = draft.provenance
        members = [
            path
            for path in sorted(draft.directory.iterdir())
            if path.name != MANIFEST and not path.name.startswith(".")
        ]
        files = [_entry(path) for path in members]
        facts = json.loads(json.dumps(facts, allow_nan=False))  # as they will be read
        manifest = Manifest(
            **provenance.model_dump(),
            key=provenance.key,
            schema_version=schema_of(provenance.kind).version,
            created=datetime.now(UTC).isoformat(timespec="microseconds"),
            files=tuple(files),
            content_hash=content_hash(files, facts),
            versions=_versions(),
            git_commit=_git_commit(),
            facts=facts,
            report=report,
        ).sealed
        existing, moved = self.find(provenance), False
        if existing is None:
            with replacing(draft.directory / MANIFEST) as path:
                path.write_text(manifest.text, encoding="utf-8")
            existing, moved = self._move(draft, manifest)
        if existing.manifest.content_hash != manifest.content_hash:
            raise ValueError(
                f"{manifest.ref} exists with other content "
                f"({existing.manifest.content_hash[:12]}, now {manifest.content_hash[:12]}); "
                f"it is kept as it is, the new one is in {draft.directory}"
            )
        if not moved:  # else another process may have a draft in a directory of this name by now
            shutil.rmtree(draft.directory, ignore_errors=True)
        return existing

    def _move(self, draft: Draft, manifest: Manifest) -> tuple[Artifact, bool]:
        """Publish and return what is there now, and whether the draft became it.

        Object stores: one writer per key at a time.
        """
        target, moved = self.directory(manifest.ref), False
        if self.is_local:
            parent = Path(target).parent
            parent.mkdir(parents=True, exist_ok=True)
            if not (Path(target) / MANIFEST).exists():
                shutil.rmtree(target, ignore_errors=True)  # left by a crash; nobody can read it
                draft.directory.rename(target)
                moved = True
                for left_over in Path(target).glob(".*"):  # the lock, checkpoints, broken writes
                    left_over.unlink(missing_ok=True)
            fsync(parent)
            fsync(parent.parent)
        else:
            for entry in manifest.files:
                self.fs.put_file(str(draft.directory / entry.name), f"{target}/{entry.name}")
            self.fs.put_file(str(draft.directory / MANIFEST), f"{target}/{MANIFEST}")
        published = self._load(manifest.ref)
        assert published is not None
        return published, moved


def _touched(path: Path) -> float:
    """When a file, or anything in a directory, was last changed."""
    return max(item.stat().st_mtime for item in [path, *path.rglob("*")])


def _entry(path: Path) -> FileEntry:
    rows = pq.read_metadata(path).num_rows if path.suffix == ".parquet" else None
    return FileEntry(
        name=path.name, sha256=file_sha256(path), num_bytes=path.stat().st_size, num_rows=rows
    )


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
