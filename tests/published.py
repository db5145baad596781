"""Small artifacts of each kind that people look at, made in a test."""

import pyarrow as pa

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of


def publish(store, kind, rows, config=None, report=None, name="toy", **inputs):
    """An artifact of rows that need not name every column."""
    schema = schema_of(kind)
    rows = [dict.fromkeys(schema.column_names) | row for row in rows]
    table = pa.Table.from_pylist(rows, schema=schema.arrow())
    made_from = dict(inputs_of(**inputs))
    provenance = Provenance(kind=kind, name=name, config=config or {}, inputs=made_from)
    return store.publish(provenance, table, report)


def classes(names):
    """Rows of the kind `classes`."""
    flags = {"group": "all", "is_base_75": True, "is_base_50": True}
    return [flags | {"class_id": i, "name": n, "prompt_name": n} for i, n in enumerate(names)]


def pairs(votes, **facts):
    """Rows of the kind `cooccurrence` from the votes of each pair of class ids, of 5 rounds."""
    facts = {"source": "llm", "rounds": 5, "count": 0} | facts
    return [
        facts | {"class_id": a, "other_id": b, "votes": n, "selected": n > 2}
        for (a, b), n in votes.items()
    ]


def ranked(videos):
    """Rows of the kind `negatives` from each video's texts, hardest first; None: own class.

    The first has cosine 0.5, each further one 1/8 less.
    """
    rows = []
    for video_id, names in videos.items():
        rank = 0
        for i, name in enumerate(names):
            own = name is None
            rank += not own
            rows.append(
                {
                    "video_id": video_id,
                    "rank": None if own else rank,
                    "text_id": f"toy/{name or 'own'}",
                    "name": name or "own",
                    "cosine": 0.5 - i / 8,
                    "margin": i / 8,
                    "status": "own_class" if own else "kept",
                }
            )
    return rows
