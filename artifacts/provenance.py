"""How an artifact is identified: by what it was made from, never by where or when."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from artifacts.frozen import Frozen
from artifacts.kinds import schema_of

MANIFEST = "manifest.json"
"""File of an artifact that says what it is."""
KEY_LENGTH = 16
"""Hex digits of a key that refs and directories show; the manifest holds all 64."""

_REF = re.compile(
    r"^(?P<kind>[a-z_]+)/(?P<name>[A-Za-z0-9][A-Za-z0-9._+-]*)(@(?P<key>[0-9a-f]+))?$"
)


class ArtifactRef(Frozen):
    """`kind/name@key`; without `@key` it means the artifact of that name that was used last."""

    kind: str
    name: str
    key: str | None = None

    @classmethod
    def parse(cls, text: str) -> ArtifactRef:
        """Read a ref.

        Raises:
            ValueError: not of the form kind/name or kind/name@key, or an unknown kind.
        """
        match = _REF.match(text)
        if not match:
            raise ValueError(f"{text!r} is not an artifact ref; write kind/name or kind/name@key")
        schema_of(match["kind"])
        return cls(kind=match["kind"], name=match["name"], key=match["key"])

    def __str__(self) -> str:
        return f"{self.kind}/{self.name}" + (f"@{self.key[:KEY_LENGTH]}" if self.key else "")


class InputRef(Frozen):
    """An artifact another one was made from."""

    ref: str
    content_hash: str


class Provenance(Frozen):
    """Everything that decides an artifact's content."""

    kind: str
    name: str
    config: dict[str, Any]
    inputs: dict[str, InputRef] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _name_fits_a_path(self) -> Self:
        ArtifactRef.parse(f"{self.kind}/{self.name}")
        return self

    @property
    def key(self) -> str:
        """SHA-256 of kind, schema version, config and the inputs' content; the name is not part."""
        return artifact_key(self.kind, schema_of(self.kind).version, self.config, self.inputs)

    @property
    def ref(self) -> ArtifactRef:
        """The full ref."""
        return ArtifactRef(kind=self.kind, name=self.name, key=self.key)


class FileEntry(Frozen):
    """One file of an artifact."""

    name: str
    sha256: str
    num_bytes: int
    num_rows: int | None = None


class Manifest(Frozen):
    """What `manifest.json` says; it is written last, so an artifact without one does not exist."""

    kind: str
    name: str
    key: str
    schema_version: int
    created: str
    """UTC time of publication."""
    config: dict[str, Any]
    inputs: dict[str, InputRef]
    files: tuple[FileEntry, ...]
    content_hash: str
    versions: dict[str, str]
    git_commit: str | None
    facts: dict[str, Any] = Field(default_factory=dict)
    """What later jobs read beside rows and files, by name; part of the content. See `fact`."""
    report: dict[str, Any]
    """What the job did, for people: rows, drops by reason, durations; no job reads it."""
    sha256: str | None = None
    """Of everything above, see `sealed`; None in a manifest made before there was one."""

    @property
    def ref(self) -> ArtifactRef:
        """The full ref."""
        return ArtifactRef(kind=self.kind, name=self.name, key=self.key)

    @property
    def recomputed_key(self) -> str:
        """What the key must be, given everything else."""
        return artifact_key(self.kind, self.schema_version, self.config, self.inputs)

    @classmethod
    def read(cls, data: bytes) -> Manifest:
        """Read the content of `manifest.json`.

        Raises:
            ValueError: it is no manifest, or was changed after it was written.
        """
        try:
            found = cls.model_validate(json.loads(data))
        except ValidationError as error:
            raise ValueError(f"not a manifest ({error.errors()[0]['msg']})") from error
        except ValueError as error:
            raise ValueError(f"not a manifest ({error})") from error
        if found.sha256 is not None and found.sha256 != found._own_sha256:
            raise ValueError("changed after it was written: its own SHA-256 does not fit")
        return found

    @property
    def sealed(self) -> Manifest:
        """The manifest as it will be read, with its own SHA-256: no field changes unnoticed."""
        plain = Manifest.model_validate(json.loads(self.model_dump_json()))
        return plain.model_copy(update={"sha256": plain._own_sha256})

    @property
    def text(self) -> str:
        """The content of `manifest.json`, to the byte."""
        return json.dumps(self.model_dump(mode="json"), indent=1, ensure_ascii=False)

    @property
    def _own_sha256(self) -> str:
        return canonical_hash(self.model_dump(mode="json", exclude={"sha256"}))

    def fact(self, name: str) -> Any:
        """What later jobs may know beside rows and files; None where the job did not say.

        Artifacts made before facts were kept apart have them in their report.
        """
        return self.facts.get(name, None if self.sha256 else self.report.get(name))

    @property
    def num_rows(self) -> int:
        """Rows over all Parquet parts."""
        return sum(entry.num_rows or 0 for entry in self.files)


def artifact_key(
    kind: str, schema_version: int, config: Mapping[str, Any], inputs: Mapping[str, InputRef]
) -> str:
    """SHA-256 of everything that decides an artifact's content."""
    return canonical_hash(
        {
            "kind": kind,
            "schema_version": schema_version,
            "config": config,
            "inputs": {role: item.content_hash for role, item in inputs.items()},
        }
    )


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces, equal for equal values.

    Raises:
        ValueError: NaN or infinity.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    )


def canonical_hash(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def content_hash(files: Iterable[FileEntry], facts: Mapping[str, Any]) -> str:
    """SHA-256 over the files' names and hashes, and the facts if there are any.

    Equal content has an equal hash, wherever it was made.
    """
    hashes: dict[str, Any] = {entry.name: entry.sha256 for entry in files}
    return canonical_hash(hashes | ({"facts": facts} if facts else {}))


def inputs_of(**artifacts: Any) -> Mapping[str, InputRef]:
    """Provenance inputs from artifacts by role; None entries are left out."""
    return {
        role: InputRef(ref=str(item.ref), content_hash=item.manifest.content_hash)
        for role, item in artifacts.items()
        if item is not None
    }
