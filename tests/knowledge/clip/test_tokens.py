"""Tokens are counted as each tokenizer counts them, and nothing is cut."""

from types import SimpleNamespace

import open_clip
import pyarrow as pa
import pytest

from artifacts.kinds import schema_of
from artifacts.provenance import Provenance, inputs_of
from knowledge.clip.lazy import LazyClip
from knowledge.clip.tokens import Tokens, fitting
from knowledge.clip.weights import ClipSpec
from knowledge.embedding.class_texts import text_embeddings
from knowledge.embedding.config import CorpusConfig
from knowledge.embedding.corpus_texts import usable_texts
from tests.clip_families import save_family
from tests.knowledge.asking import publish_classes


def words(text, add_special_tokens=True):
    """A tokenizer of transformers' form: a token per word, and an end."""
    return SimpleNamespace(input_ids=[*text.split(), *(["end"] if add_special_tokens else [])])


def of_hub(mode=""):
    return SimpleNamespace(
        tokenizer=words, clean_fn=str.lower, context_length=6, tokenizer_mode=mode
    )


def test_tokens_of_transformers_are_counted_with_what_is_added():
    assert Tokens(of_hub()).count("a b c d e") == 6
    assert Tokens(of_hub()).reads_whole("a b c d e")
    assert not Tokens(of_hub()).reads_whole("a b c d e f")
    assert Tokens(of_hub("clips")).count("a b c") == 6
    assert not Tokens(of_hub("clips")).reads_whole("a b c d")


@pytest.mark.parametrize("limit", [8, 32])
def test_a_plain_tokenizer_counts_what_it_gives(limit):
    tokenizer = open_clip.SimpleTokenizer(context_length=limit)
    tokens = Tokens(tokenizer)
    for text in ("", "walk", "walk & run", "ünïcode wörds!", "walk " * (limit - 2)):
        whole = tokenizer([text], context_length=99)[0]
        assert tokens.count(text) == int(whole.argmax()) + 1
        assert tokens.reads_whole(text) == (tokens.count(text) <= limit)


def test_the_sentences_that_fit_a_model():
    text = "One two. Three four five. Six."
    assert fitting(text, lambda each: len(each.split()) <= 5) == "One two. Three four five."
    assert fitting(text, lambda each: len(each.split()) <= 1) == ""


@pytest.fixture
def short(tmp_path):
    """A model that reads 32 tokens."""
    return LazyClip(ClipSpec.model_validate({"arch": save_family(tmp_path / "pe", "pe")}))


def test_descriptions_are_shortened_or_left_out_and_counted(store, short, caplog):
    classes = publish_classes(store)
    ids = classes.read(["class_id"])["class_id"].to_pylist()
    first = "A person walks. "
    texts = ["Short.", first + "Then much happens " * 12 + ".", "On and on " * 30]
    rows = [
        {"class_id": ids[i % len(ids)], "prompt_id": f"p{i}", "text": text, "n_tokens": 9}
        | {"model": "m"}
        for i, text in enumerate(texts)
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("descriptions").arrow())
    made_from = dict(inputs_of(classes=classes))
    name = classes.manifest.name
    origin = Provenance(kind="descriptions", name=name, config={}, inputs=made_from)
    made = text_embeddings(store, short, classes, store.publish(origin, table)).artifact
    found = [row for row in made.read().to_pylist() if row["source"] == "description"]
    assert [row["text"] for row in found] == ["Short.", first.strip()]
    assert made.manifest.report["descriptions_too_long"] == {"shortened": 1, "left_out": 1}
    [said] = [each for each in caplog.records if each.name.startswith("knowledge")]
    assert "reads 32 tokens: of the descriptions 1 are shortened" in said.getMessage()
    with pytest.raises(ValueError, match="at most 32 fit"):
        text_embeddings(store, short, classes, template="so " * 40 + "{label}")


def test_texts_of_files_are_left_out(short, tmp_path):
    (tmp_path / "texts.txt").write_text("walk\n" + "run " * 40 + "\n")
    found = usable_texts(tmp_path / "texts.txt", CorpusConfig(max_unusable=1), short.tokens)
    assert found.table["text"].to_pylist() == ["walk"]
    assert found.left_out == {"too long": 1}
