"""An artifact in the making: a locked directory fixed by its key, which survives a crash."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from artifacts.files import LOCK_WAIT_S, DirectoryLock, replacing, write_first
from artifacts.kinds import schema_of
from artifacts.provenance import Provenance
from artifacts.validation import check, check_unique

if TYPE_CHECKING:
    from artifacts.artifact import Artifact


class Draft:
    """Parts and files of one artifact; complete ones are kept when the process dies.

    One process at a time holds a draft, or any number that share it, through a lock that ends with
    the process. Those that share it may write the same part, where every one has the same content.
    """

    def __init__(
        self,
        provenance: Provenance,
        directory: Path,
        publish: Callable[[Draft, dict[str, Any], dict[str, Any]], Artifact] | None = None,
        *,
        shared: bool = False,
        wait_s: float = LOCK_WAIT_S,
    ) -> None:
        """Begin, or go on where another process was stopped.

        Args:
            provenance: of the artifact.
            directory: of the draft.
            publish: what moves it into the store; None where parts are only written, without a
                lock, for a process that holds the draft.
            shared: hold it beside other processes until it is published.
            wait_s: how long others may hold it before this one is refused.

        Raises:
            HeldError: another process is making this artifact.
        """
        self.provenance = provenance
        self.directory = directory
        self.shared = shared
        self.wait_s = wait_s
        self._publish = publish
        self._lock: DirectoryLock | None = None
        if publish is not None:
            self._lock = DirectoryLock(directory, str(provenance.ref), shared=shared, wait_s=wait_s)

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
        with replacing(self.directory / part_name(part)) as path:
            pq.write_table(
                table,
                path,
                compression={
                    name: "zstd" if name in plain else "none" for name in table.column_names
                },
                use_dictionary=plain,
                write_page_checksum=True,
            )

    def write_file(self, name: str, data: bytes, *, first: bool = False) -> bool:
        """Store a file beside the table.

        Args:
            name: of the file.
            data: its content.
            first: only if there is none yet, also where several processes try at once.

        Returns:
            Whether it was stored.

        Raises:
            ValueError: the kind has no such file.
        """
        allowed = schema_of(self.provenance.kind).files
        if name not in allowed:
            raise ValueError(f"{self.provenance.kind} has no file {name!r}; allowed: {allowed}")
        if first:
            return write_first(self.directory / name, data)
        with replacing(self.directory / name) as path:
            path.write_bytes(data)
        return True

    def publish(
        self, report: Mapping[str, Any] | None = None, facts: Mapping[str, Any] | None = None
    ) -> Artifact:
        """Make the artifact visible and end the draft.

        Files whose name begins with a dot, such as checkpoints of the job, are no part of it and
        stay until it is published. A shared draft waits until the others that hold it let go of it.

        Args:
            report: what the job did, for people.
            facts: what later jobs read beside rows and files; part of the content.

        Raises:
            ValueError: the key exists with other content, a key column repeats over the parts, or
                another process holds the draft or has published it.
        """
        assert self._publish is not None, "this draft can only be written to"
        if self.shared:
            self.close()
            try:
                self._lock = DirectoryLock(
                    self.directory, str(self.provenance.ref), make=False, wait_s=self.wait_s
                )
            except FileNotFoundError as error:
                raise ValueError(
                    f"{self.provenance.ref} was published by another process"
                ) from error
        schema = schema_of(self.provenance.kind)
        keys = {name for names in schema.unique for name in names}
        check_unique(self.read([name for name in schema.column_names if name in keys]), schema)
        try:
            return self._publish(self, dict(report or {}), dict(facts or {}))
        finally:
            self.close()

    def close(self) -> None:
        """Release the lock, so that another process can go on with the draft."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def part_name(part: int) -> str:
    """File name of a Parquet part."""
    return f"part-{part:05d}.parquet"
