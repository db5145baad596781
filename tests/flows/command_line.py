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


def parse(line):
    """Parse a line that begins with `actionlore`, without running it; options must exist."""
    import shlex

    from typer.main import get_command

    from flows.cli import app

    program, *words = shlex.split(line)
    assert program == "actionlore", line
    group = get_command(app)
    with group.make_context(program, list(words)) as context:
        name, command, rest = group.resolve_command(context, words)
        with command.make_context(name, rest, parent=context):
            pass
