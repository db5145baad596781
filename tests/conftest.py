"""What every test needs, however the tests were started."""

import signal

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # started in a shell's background
    signal.signal(signal.SIGINT, signal.default_int_handler)
