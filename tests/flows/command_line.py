"""What tests of the command line ask for, and how a command may end."""

import json


def failed(done, *words):
    """The run ended with status 1 and one line that holds all words."""
    assert done.exit_code == 1, done.output
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    for word in ("error: ", *words):
        assert word in lines[0]
    assert "Traceback" not in done.output


ASKED = ("extract", "--classes", "stickworld", "--kind", "description")


def described(body):
    label = body["messages"][1]["content"].split("distinguishing ")[1].split(" in a")[0]
    return json.dumps({"description": f"A person doing {label}."})


def halted(done, *words):
    """The run stopped resumably with one line that holds all words."""
    assert done.exit_code == 75, done.output
    [line] = [line for line in done.stderr.splitlines() if line.strip()]
    for word in ("stopped: ", *words):
        assert word in line
