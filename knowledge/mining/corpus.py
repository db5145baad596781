"""The texts negatives are taken from: one dataset's classes and further text embeddings, as one.

Of each text a name and a class are kept in Arrow columns; embeddings are read part by part. A
corpus may hold a million texts, so nothing here makes a Python object per text that lasts.
Legend: M texts, K classes of the dataset, D embedding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from artifacts.artifact import Artifact
from artifacts.tensors import read_tensor
from knowledge.datasets.class_names import normalised

FLOAT32_ERROR = 1e-5
"""Bound on the error of float32 cosines; what is this near to a threshold is computed anew."""

HELD_BYTES = 1 << 28
"""Embeddings of a corpus up to this size stay in memory; larger ones are read anew by each pass."""

_COLUMNS = ["text_id", "class_id", "source", "name", "text", "embedding"]

Vectors = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Corpus:
    """The distinct texts, first the prompts of the dataset's K classes."""

    texts: pa.Table
    """`text_id`, `name` and `class_id` (class of the dataset, or null) of each text (M)."""
    own_KD: Vectors
    """Unit rows of the dataset's classes."""
    class_position: Ints
    """(M,) place of the text's class among the dataset's classes; -1: of none."""
    repeated_names: int
    """Texts left out because an earlier corpus has the same name."""
    synonym_keys: Ints
    """Sorted; class position times M plus text, for each pair that is nearly one text."""
    synonym_cosines: Reals
    """Their cosines."""
    sources: tuple[_Source, ...]
    """Where the embeddings of the further texts are."""

    @property
    def num_own(self) -> int:
        """K."""
        return len(self.own_KD)

    def __len__(self) -> int:
        return int(self.texts.num_rows)

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """First id and unit rows of all texts, by rising id."""
        yield 0, self.own_KD
        first = self.num_own
        for source in self.sources:
            for rows in source.blocks():
                yield first, rows
                first += len(rows)

    @property
    def own_names(self) -> pa.Array:
        """Names of the dataset's classes (K)."""
        return self.texts["name"].slice(0, self.num_own).combine_chunks()

    @property
    def positions(self) -> dict[int, int]:
        """Place of each class id of the dataset."""
        own = self.texts["class_id"].slice(0, self.num_own).to_pylist()
        return {class_id: i for i, class_id in enumerate(own)}

    def synonym_cosine(self, classes: Ints, ids: Ints) -> Reals:
        """Cosine of texts with the prompts of classes where it is a synonym's, else -inf.

        Args:
            classes: positions, -1 for none.
            ids: texts; broadcast against the classes.
        """
        keys = classes * len(self) + ids
        if not len(self.synonym_keys):
            return np.full(keys.shape, -np.inf)
        place = np.searchsorted(self.synonym_keys, keys).clip(max=len(self.synonym_keys) - 1)
        found = (self.synonym_keys[place] == keys) & (classes >= 0)
        return np.where(found, self.synonym_cosines[place], -np.inf)


class _Source:
    """Embeddings of one artifact's texts, held in memory unless they are many."""

    def __init__(self, artifact: Artifact, width: int, held_bytes: int) -> None:
        self.artifact, self.width = artifact, width
        self.kept: list[Ints] = []
        """Rows of each part that are texts of the corpus."""
        size = artifact.manifest.num_rows * width * np.dtype(np.float32).itemsize
        self.held: list[Vectors] | None = [] if size <= held_bytes else None

    def add(self, part: pa.Table, kept: Ints) -> Vectors:
        """Note which rows of the next part belong to the corpus; their embeddings."""
        self.kept.append(kept)
        rows = self._rows(part, kept)
        if self.held is not None:
            self.held.append(rows)
        return rows

    def blocks(self) -> Iterator[Vectors]:
        """Unit rows of the texts, part by part."""
        if self.held is not None:
            yield from self.held
            return
        for part, kept in zip(self.artifact.parts(["embedding"]), self.kept, strict=True):
            yield self._rows(part, kept)

    def _rows(self, part: pa.Table, kept: Ints) -> Vectors:
        vectors: Vectors = read_tensor(part, "embedding")
        if vectors.shape[1] != self.width:
            raise ValueError(
                f"{self.artifact.ref} has embeddings of {vectors.shape[1]} dimensions, the "
                f"dataset's texts of {self.width}; run `actionlore mine` with one CLIP model"
            )
        return vectors if len(kept) == len(vectors) else vectors[kept]


def read_corpus(
    texts: Sequence[Artifact], synonym_cosine: float, held_bytes: int = HELD_BYTES
) -> Corpus:
    """The class prompts and file texts of several text embeddings.

    Of the further ones, a class whose name an earlier one has is left out, and so is a text of no
    class whose words are such a name. A text of a class that the dataset has counts as a text of
    that class.

    Args:
        texts: the first is of the dataset's own classes.
        synonym_cosine: cosine above which a further text and a class are listed as synonyms.
        held_bytes: embeddings of a corpus up to this size stay in memory.

    Raises:
        ValueError: two of them have a name in common, or embeddings of different widths.
    """
    _check_names(texts)
    own = texts[0].read(_COLUMNS)
    own = own.take(pa.array(_candidates(own)))
    own_KD: Vectors = read_tensor(own, "embedding")
    own_names = {normalised(name): i for i, name in enumerate(own["name"].to_pylist())}
    tables, positions = [own.select(["text_id", "name"])], [np.arange(len(own_KD))]
    sources = [_Source(artifact, own_KD.shape[1], held_bytes) for artifact in texts[1:]]
    near: list[tuple[Ints, Ints, Reals]] = []
    seen, repeated, num_texts = _identities(own), 0, len(own_KD)
    for source in sources:
        for part in source.artifact.parts(_COLUMNS):
            kept = _candidates(part)
            identities = _identities(part)[kept]
            first = _first_of_each(identities, seen)
            repeated += len(kept) - len(first)
            seen = np.union1d(seen, identities[first])
            classes, ids, cosines = _near(own_KD, source.add(part, kept[first]), synonym_cosine)
            near.append((classes, num_texts + ids, cosines))
            part = part.take(pa.array(kept[first]))
            tables.append(part.select(["text_id", "name"]))
            positions.append(_class_positions(part, own_names))
            num_texts += len(first)
    class_position = np.concatenate(positions).astype(np.int64)
    own_ids = own["class_id"].combine_chunks()
    class_ids = own_ids.take(pa.array(class_position, mask=class_position < 0))
    keys = np.concatenate([np.zeros(0, np.int64), *(c * num_texts + ids for c, ids, _ in near)])
    order = np.argsort(keys)
    return Corpus(
        texts=pa.concat_tables(tables).append_column("class_id", class_ids),
        own_KD=own_KD,
        class_position=class_position,
        repeated_names=repeated,
        synonym_keys=keys[order],
        synonym_cosines=np.concatenate([np.zeros(0), *(cosines for *_, cosines in near)])[order],
        sources=tuple(sources),
    )


def _candidates(table: pa.Table) -> Ints:
    """Rows that may be negatives: descriptions of classes are not."""
    sources = pc.not_equal(table["source"], "description")
    return np.flatnonzero(sources.to_numpy()).astype(np.int64)


def _class_positions(part: pa.Table, own_names: dict[str, int]) -> Ints:
    """Class of the dataset that a file names for a text, by its name; -1: none."""
    of_file = pc.equal(part["source"], "text").to_numpy()
    names = part["name"].to_pylist()
    found = [own_names.get(_folded(name), -1) if of_file[i] else -1 for i, name in enumerate(names)]
    return np.array(found, np.int64)


def _identities(table: pa.Table) -> npt.NDArray[np.uint64]:
    """64 bits of what makes each text another one: its name, or the words if a file has its class.

    Of a million texts, two that differ are taken for equal with a probability of 3e-8.
    """
    of_class = pc.and_(pc.equal(table["source"], "text"), pc.is_valid(table["class_id"]))
    words = pc.if_else(of_class, table["text"], table["name"]).to_pylist()
    digests = [blake2b(_folded(each).encode(), digest_size=8).digest() for each in words]
    return np.frombuffer(b"".join(digests), np.uint64)


def _folded(name: str) -> str:
    """`normalised`, without its cache, which a million texts would wash out."""
    return normalised.__wrapped__(name)


def _first_of_each(
    identities: npt.NDArray[np.uint64], seen: npt.NDArray[np.uint64]
) -> npt.NDArray[np.int64]:
    """Rising index of the first row of each identity that was not seen before."""
    first = np.sort(np.unique(identities, return_index=True)[1])
    return first[~np.isin(identities[first], seen)]


def _near(own_KD: Vectors, rows_BD: Vectors, limit: float) -> tuple[Ints, Ints, Reals]:
    """Class positions, rows and cosines of the pairs whose cosine exceeds a limit."""
    near_K, near_B = np.nonzero(own_KD @ rows_BD.T > limit - FLOAT32_ERROR)
    exact = np.einsum("pd,pd->p", own_KD[near_K].astype(float), rows_BD[near_B].astype(float))
    exact = np.round(exact.clip(-1, 1), 9)
    above = exact > limit
    return near_K[above], near_B[above], exact[above]


def _check_names(texts: Sequence[Artifact]) -> None:
    names = [each.manifest.name for each in texts]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise ValueError(
                f"two corpora are called {name!r} ({texts[names.index(name)].ref}, "
                f"{texts[number].ref}); rename the file of one, or give it once"
            )
