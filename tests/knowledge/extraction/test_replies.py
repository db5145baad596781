"""Reading replies: what is wrong is told in our words, since they decide the next request's key."""

import pytest

from knowledge.extraction.kinds.anatomy import AnatomyReply
from knowledge.extraction.replies import Unusable, read_reply

NOT_JSON = "the answer is not JSON: "
PHASE = '{"subject": "legs", "motion": "swing", "object": null, "sentence": "Legs swing."}'


@pytest.mark.parametrize(
    ("text", "reason", "detail"),
    [
        ("", "empty", "the answer was empty"),
        ("legs", "not_json", NOT_JSON + "it has to be one JSON object and nothing else"),
        ('{"phases": [', "not_json", NOT_JSON + "it has to be one JSON object and nothing else"),
        ("[" * 100_000, "not_json", NOT_JSON + "it has to be one JSON object and nothing else"),
        ('{"phases": 1, "phases": 2}', "not_json", NOT_JSON + "a key occurs twice"),
        ('{"phases": NaN}', "not_json", NOT_JSON + "it holds NaN"),
        ('{"phases": ["\\ud800"]}', "not_json", NOT_JSON + "it holds half a character"),
        ("[]", "wrong_form", "the answer must be an object"),
        ("{}", "wrong_form", "phases is missing"),
        ('{"phases": {}}', "wrong_form", "phases must be a list"),
        (f'{{"phases": [{PHASE}, 7]}}', "wrong_form", "phases.1 must be an object"),
        (
            '{"phases": [' + PHASE.replace("null", "7") + "]}",
            "wrong_form",
            "phases.0.object must be a string",
        ),
    ],
)
def test_what_is_wrong(text, reason, detail):
    with pytest.raises(Unusable) as caught:
        read_reply(text, "ok", "stop", AnatomyReply)
    assert (caught.value.reason, caught.value.detail) == (reason, detail)


def test_what_is_read():
    assert len(read_reply(f'{{"phases": [{PHASE}]}}', "ok", "stop", AnatomyReply).phases) == 1


READ = f'{{"phases": [{PHASE}]}}'


@pytest.mark.parametrize(
    "text",
    [
        "\ufeff" + READ,
        f"<think>Is it {{}}? Or [{READ}]?</think>\n{READ}",
        f"```json5\n{READ}\n```",
        f"```c++\n{READ}\n```",
        f"Sure, here it is: {READ} Ask me anything.",
        f"Sure:\n```json\n{READ}",
    ],
)
def test_what_stands_around_the_answer_is_no_part_of_it(text):
    assert len(read_reply(text, "ok", "stop", AnatomyReply).phases) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"{READ} or {READ}",
        f"As {{curly}} as can be: {READ}",
        f"Here: [{READ}]",
        f"Here: [1, {READ}]",
        f"<think>Well: {READ}",
        f"{READ} {{",
        READ[:-2],
    ],
)
def test_what_is_not_exactly_one_object(text):
    with pytest.raises(Unusable) as caught:
        read_reply(text, "ok", "stop", AnatomyReply)
    assert caught.value.reason == "not_json"
