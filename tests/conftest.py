"""What every test needs, however the tests were started."""

import signal

import hypothesis
import pytest

hypothesis.settings.register_profile("any machine", deadline=None)
hypothesis.settings.load_profile("any machine")  # a loaded machine is not a failure
pytest.register_assert_rewrite("tests.flows.command_line")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)
