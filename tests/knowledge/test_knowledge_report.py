"""The report on knowledge: figures are the definitions, truth has to fit, the command prints it."""

import json
from statistics import fmean

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from artifacts.provenance import Provenance, inputs_of
from artifacts.schemas import schema_of
from artifacts.store import Store
from flows.cli import app
from knowledge.datasets.class_lists import class_list
from knowledge.datasets.listing import register_classes
from knowledge.extraction import ask
from knowledge.kinds import anatomy, cooccurrence, description
from knowledge.knowledge_report import TOP, Truth, compare, knowledge_report, truth_of_csv
from knowledge.llm.budget import load_prices
from knowledge.llm.client import OpenAiChat
from knowledge.llm.ledger import Ledger
from knowledge.llm.recorded import RecordedReplies
from knowledge.question import read_classes
from tests.llm_server import LlmServer


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return Store(tmp_path_factory.mktemp("store"))


@pytest.fixture(scope="module")
def classes(store):
    return register_classes(store, "stickworld", class_list("stickworld")).artifact


def built(store, classes, kind, model, ledger=None, **settings):
    config = kind.CONFIG(**settings)
    calls = ask(store, classes, config, model, ledger).artifact
    return kind.build(store, classes, calls, config).artifact


@pytest.fixture(scope="module")
def recorded(store, classes):
    model = RecordedReplies(class_list("stickworld")["name"])
    return built(store, classes, cooccurrence, model, num=4, keep=4)


def publish_videos(store, classes, labels, name="stickworld"):
    rows = [
        {
            "video_id": f"v{number}",
            "path": f"v{number}.mp4",
            "split": ("train", "val", "test")[number % 3],
            "class_ids": ids,
            "status": "missing",
        }
        for number, ids in enumerate(labels)
    ]
    table = pa.Table.from_pylist(rows, schema=schema_of("videos").arrow())
    inputs = dict(inputs_of(classes=classes))
    provenance = Provenance(kind="videos", name=name, config={"labels": labels}, inputs=inputs)
    return store.find(provenance) or store.publish(provenance, table)


@pytest.fixture(scope="module")
def videos(store, classes):
    """Each video holds a class and the one or two after it."""
    ids = [each.class_id for each in read_classes(classes)]
    labels = [ids[i : i + 2 + i % 2] for i in range(len(ids) - 3)]
    return publish_videos(store, classes, labels)


def average_ranks(values):
    return [
        sum(other < value for other in values) + (sum(other == value for other in values) + 1) / 2
        for value in values
    ]


def correlation(first, second):
    a, b = np.array(average_ranks(first)), np.array(average_ranks(second))
    if a.std() == 0 or b.std() == 0:
        return None
    return ((a - a.mean()) * (b - b.mean())).mean() / (a.std() * b.std())


def literal_figures(rows, ids, counts, occurs):
    """The definitions, one class at a time: {figure: (votes, chance, popularity)}."""
    row = {(each["class_id"], each["other_id"]): each for each in rows}
    blank = {"votes": 0, "mean_position": None, "selected": False, "source": "llm"}
    others = {i: [j for j in ids if j != i] for i in ids}
    at = {(i, j): row.get((i, j), blank) for i in ids for j in others[i]}
    true = {i: {j for j in others[i] if counts[i, j] > 0} for i in ids}
    popular = {i: sorted(others[i], key=lambda j: (-occurs[j], j)) for i in ids}
    figures = {}
    for k in TOP:
        found = []
        for i in ids:
            named = sorted(
                (-at[i, j]["votes"], at[i, j]["mean_position"], j)
                for j in others[i]
                if at[i, j]["votes"]
            )[:k]
            if named and true[i]:
                hits = [sum(j in true[i] for *_, j in named) / len(named)]
                hits.append(len(true[i]) / len(others[i]))
                hits.append(sum(j in true[i] for j in popular[i][: len(named)]) / len(named))
                found.append(hits)
        figures[k] = [fmean(each) for each in zip(*found, strict=True)] or [None] * 3
    hits, chance, pop, total = 0, 0, 0, 0
    for i in ids:
        if any(each["source"] == "train" for each in rows if each["class_id"] == i):
            continue
        chosen = {j for j in others[i] if at[i, j]["selected"]}
        hits += len(chosen & true[i])
        chance += len(chosen) * len(true[i]) / len(others[i])
        pop += len({*popular[i][: len(chosen)]} & true[i])
        total += len(true[i])
    figures["recall"] = [each / total if total else None for each in (hits, chance, pop)]
    of_votes, of_popularity = [], []
    for i in ids:
        if true[i]:
            truth = [counts[i, j] for j in others[i]]
            of_votes.append(correlation([at[i, j]["votes"] for j in others[i]], truth))
            of_popularity.append(correlation([occurs[j] for j in others[i]], truth))
    defined = [[each for each in one if each is not None] for one in (of_votes, of_popularity)]
    means = [fmean(each) if each else None for each in defined]
    figures["rank"] = [means[0], 0, means[1]]
    return figures


@pytest.mark.parametrize("seed", range(8))
def test_figures_are_the_definitions(store, seed):
    draw = np.random.default_rng(seed)
    size = int(draw.integers(11, 14))
    ids = sorted(int(each) for each in draw.choice(50, size, replace=False))
    listed = {"class_id": ids, "name": [f"a{i}" for i in ids], "group": "all"}
    classes = register_classes(store, f"random{seed}", pd.DataFrame(listed)).artifact
    rows = []
    for i in ids[: size - seed % 2]:  # sometimes a class without a vote
        for j in ids:
            votes, source = int(draw.integers(0, 4)), "llm"
            if i == ids[0]:
                source = "train"
            if i == j or draw.random() < 0.4:
                continue
            place = float(draw.integers(1, 4)) if votes else None
            selected = bool(draw.random() < 0.5)
            rows.append(
                {"class_id": i, "other_id": j, "source": source, "votes": votes, "rounds": 3}
                | {"mean_position": place, "count": 0, "selected": selected}
            )
    table = pa.Table.from_pylist(rows, schema=schema_of("cooccurrence").arrow())
    provenance = Provenance(
        kind="cooccurrence",
        name=f"random{seed}",
        config={},
        inputs=dict(inputs_of(classes=classes)),
    )
    artifact = store.publish(provenance, table)
    counts = np.triu(draw.integers(0, 4, (size, size)) * (draw.random((size, size)) < 0.3), 1)
    counts[:, 3] = counts[3] = 0  # a class without a true partner
    counts += counts.T
    occurs = draw.integers(0, 5, size)
    found = compare(artifact, read_classes(classes), Truth("drawn", counts, occurs))
    expected = literal_figures(
        rows,
        ids,
        {(i, j): counts[a, b] for a, i in enumerate(ids) for b, j in enumerate(ids)},
        dict(zip(ids, occurs.tolist(), strict=True)),
    )
    scores = {**found.precision, "recall": found.recall, "rank": found.rank_correlation}
    assert scores.keys() == expected.keys()
    for name, score in scores.items():
        assert list(score.model_dump().values()) == pytest.approx(expected[name]), name
    assert found.true_pairs == (counts > 0).sum()
    assert found.classes == (counts > 0).any(axis=1).sum() < size


def test_recorded_knowledge_with_truth(store, recorded, videos):
    found = knowledge_report(store, recorded, videos)
    report = recorded.manifest.report
    assert (found.coverage, found.unanswered_classes, found.classes) == (1, [], 36)
    assert found.agreement == report["agreement"]
    assert found.repeated_rounds == report["repeated_rounds"]
    assert (found.calls.requests, found.calls.attempts, found.calls.usd) == (540, 540, None)
    assert found.truth.source == str(videos.ref)
    assert found.truth.classes == 36 - 2  # the last two are in no video
    assert list(found.truth.precision) == list(TOP)
    for score in (found.truth.recall, *found.truth.precision.values()):
        assert 0 <= score.votes <= 1
    # All splits count.
    assert found.truth.true_pairs == 2 * (33 + 16)


def test_truth_from_csv_is_that_of_the_videos(store, classes, recorded, videos, tmp_path):
    names = {each.class_id: each.name for each in read_classes(classes)}
    counts = {}
    for ids in videos.read(["class_ids"])["class_ids"].to_pylist():
        for pair in {(i, j) for i in ids for j in ids if i <= j}:
            counts[pair] = counts.get(pair, 0) + 1
    lines = [f"{names[j].upper()},{names[i]},{n}" for (i, j), n in counts.items()]
    path = tmp_path / "truth.csv"
    path.write_text("\n".join(["class,other,count", *lines]))
    one = knowledge_report(store, recorded, videos).truth
    other = knowledge_report(store, recorded, path).truth
    assert other.model_copy(update={"source": one.source}) == one
    path.write_text("\n".join(["class,other,count", f"{names[1]},{names[2]},7"]))
    truth = truth_of_csv(path, read_classes(classes))
    assert truth.counts.sum() == 14
    assert sorted(truth.occurrences.tolist())[-3:] == [0, 7, 7]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["class,other,number", "walk,run,1"], "column 'count' is missing; give class, other"),
        (["class,other,count", "walk,run,1", "walk,fly,1"], "line 3: class 'fly' is not in the"),
        (["class,other,count", "walk,run,-1"], "line 2: count '-1' is no whole number"),
        (["class,other,count", "walk,run,1", "run,walk,2"], "line 3: 'run' and 'walk' had another"),
    ],
)
def test_csv_errors(store, tmp_path, lines, message):
    listed = {"class_id": [0, 1], "name": ["walk", "run"], "group": "all"}
    classes = register_classes(store, "two", pd.DataFrame(listed)).artifact
    path = tmp_path / "truth.csv"
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        truth_of_csv(path, read_classes(classes))


def test_truth_that_does_not_fit(store, classes, recorded, videos):
    others = register_classes(store, "ava", class_list("ava")).artifact
    with pytest.raises(ValueError, match="registered with another class list than classes/stick"):
        knowledge_report(store, recorded, publish_videos(store, others, [[1, 2]], "ava"))
    with pytest.raises(ValueError, match="holds no ground truth"):
        knowledge_report(store, recorded, classes)
    with pytest.raises(ValueError, match="was not made from replies of an LLM"):
        knowledge_report(store, videos)
    texts = built(store, classes, description, RecordedReplies(class_list("stickworld")["name"]))
    with pytest.raises(ValueError, match="truth has no effect on descriptions/stickworld"):
        knowledge_report(store, texts, videos)


@pytest.mark.parametrize("kind", [description, anatomy])
def test_other_kinds(store, classes, kind):
    texts = built(store, classes, kind, RecordedReplies(class_list("stickworld")["name"]))
    found = knowledge_report(store, texts)
    assert found.coverage == 1
    assert (found.agreement, found.truth) == (None, None)
    assert found.calls.requests == 36
    done = CliRunner().invoke(app, ["report", str(texts.ref), "--store", store.root])
    assert done.exit_code == 0, done.stderr
    assert "alpha" not in done.stdout


def test_cost_of_an_endpoint(store, tmp_path):
    """Tokens and attempts as the endpoint billed them; the price table knows no local server."""
    listed = {"class_id": range(3), "name": ["walk", "run", "sit"], "group": "all"}
    classes = register_classes(store, "three", pd.DataFrame(listed)).artifact
    with (
        LlmServer(lambda body: '{"actions": ["run"]}') as server,
        Ledger(tmp_path / "ledger") as ledger,
    ):
        model = OpenAiChat(server.url, "m")
        artifact = built(store, classes, cooccurrence, model, ledger, rounds=2, num=5)
        model.close()
    calls = knowledge_report(store, artifact).calls
    assert (calls.requests, calls.attempts, calls.asked_again) == (6, 6, 0)
    assert (calls.prompt_tokens, calls.completion_tokens) == (66, 42)
    assert (calls.endpoint, calls.model, calls.usd) == (server.url, "m", None)


def test_cost_where_the_price_is_known(store):
    prices = load_prices()
    host, models = next(iter(prices.prices.items()))
    name, price = next(iter(models.items()))
    listed = {"class_id": range(2), "name": ["hop", "run"], "group": "all"}
    classes = register_classes(store, "priced", pd.DataFrame(listed)).artifact
    calls = store.publish(
        Provenance(
            kind="llm_calls",
            name="priced",
            config={"endpoint": f"https://{host}/v1", "model": name},
        ),
        schema_of("llm_calls").arrow().empty_table(),
        {"requests": 1, "not_needed": 0, "asked_again": 0, "attempts": 1, "duration_s": 1.0}
        | {"prompt_tokens": 2_000_000, "completion_tokens": 1_000_000, "calls_per_second": 1.0}
        | {"prices": {"version": prices.version, "sha256": prices.sha256}},
    )
    artifact = store.publish(
        Provenance(
            kind="descriptions",
            name="priced",
            config={},
            inputs=dict(inputs_of(classes=classes, calls=calls)),
        ),
        schema_of("descriptions").arrow().empty_table(),
        {"coverage": 0.0, "drops": {"no_reply": 2}},
    )
    found = knowledge_report(store, artifact)
    assert found.calls.usd == pytest.approx(2 * price.prompt + price.completion)
    assert found.drops == {"no_reply": 2}


def test_command(store, recorded, videos):
    given = ["report", "cooccurrence/stickworld", "--store", store.root]
    done = CliRunner().invoke(app, [*given, "--truth", "videos/stickworld"])
    assert done.exit_code == 0, done.stderr
    for words in ("alpha between rounds", "precision at 10", "popularity", "100.0% of the classes"):
        assert words in done.stdout
    done = CliRunner().invoke(app, [*given, "--truth", "videos/stickworld", "--json"])
    expected = knowledge_report(store, recorded, videos)
    assert json.loads(done.stdout) == json.loads(expected.model_dump_json())
    done = CliRunner().invoke(app, [*given, "--truth", "none.csv"])
    assert done.exit_code == 1
    assert done.stderr.strip() == "error: truth none.csv does not exist"
    done = CliRunner().invoke(app, ["report", "cooccurrence/none", "--store", store.root])
    assert done.stderr.startswith("error: no artifact cooccurrence/none")
