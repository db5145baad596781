"""Why videos cannot be used: counts by status, and the first reasons."""

from __future__ import annotations

from collections import Counter

import pyarrow as pa

_NUM_SHOWN = 3


def unusable(table: pa.Table) -> str:
    """One line about the rows whose status is not ok, such as `2 missing; a: no such file`.

    Args:
        table: columns video_id, status and reason, of `videos` or `frame_embeddings`.
    """
    rows = [row for row in table.to_pylist() if row["status"] != "ok"]
    counts = Counter(row["status"] for row in rows)
    parts = [", ".join(f"{count} {status}" for status, count in counts.most_common())]
    parts += [f"{row['video_id']}: {row['reason']}" for row in rows[:_NUM_SHOWN]]
    return "; ".join(parts)
