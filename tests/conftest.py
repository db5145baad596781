"""What every test needs, however the tests were started."""

import signal

import pytest

pytest.register_assert_rewrite("tests.flows.command_line")

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)
