"""Progress where there is no terminal: lines with rate and time left."""

import re
import time

from flows.orchestration.console import progress


def test_lines_say_rate_and_time_left_of_what_this_run_does(capsys):
    with progress("encoding", interval_s=0.05) as advance:
        advance(50, 100)  # done by an earlier run
        time.sleep(0.1)
        advance(60, 100)
        advance(61, 100)  # too soon for a line
    [line] = capsys.readouterr().out.splitlines()
    found = re.fullmatch(r"encoding: 60 of 100, (\S+)/s, 0:00:0(\d) left", line)
    assert found, line
    rate, left = float(found[1]), int(found[2])
    assert 0 < rate <= 100
    assert abs(left - 40 / rate) <= 1


def test_a_high_rate_has_no_exponent(capsys):
    with progress("listing", interval_s=0.0) as advance:
        advance(0, 4_000_000)
        time.sleep(0.1)
        advance(1_000_000, 4_000_000)
    line = capsys.readouterr().out.splitlines()[-1]
    assert re.fullmatch(r"listing: 1000000 of 4000000, [\d,]+/s, 0:00:\d\d left", line)
