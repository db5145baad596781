"""JSON messages between processes, one per line, over a socket."""

from __future__ import annotations

import json
import socket
from collections import deque
from typing import Any

Message = dict[str, Any]


class Channel:
    """One end of a connected pair of sockets."""

    def __init__(self, end: socket.socket) -> None:
        """Take over the socket."""
        self._socket = end
        self._rest = b""
        self._messages: deque[Message] = deque()

    def fileno(self) -> int:
        """Descriptor, for selectors."""
        return self._socket.fileno()

    def send(self, message: Message) -> None:
        """Send a message.

        Raises:
            OSError: the other end is gone.
        """
        self._socket.sendall(json.dumps(message).encode() + b"\n")

    def arrived(self) -> list[Message] | None:
        """Wait until something comes, then all complete messages; None when the other end closed.

        Messages that came before the other end closed are handed out first.
        """
        try:
            data = self._socket.recv(1 << 16)
        except ConnectionError:
            data = b""
        if not data:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]

    def receive(self) -> Message | None:
        """Wait for the next message; None when the other end closed."""
        while not self._messages:
            if (messages := self.arrived()) is None:
                return None
            self._messages.extend(messages)
        return self._messages.popleft()

    def close(self) -> None:
        """Close this end."""
        self._socket.close()


def pair() -> tuple[Channel, Channel]:
    """Two connected ends."""
    one, other = socket.socketpair()
    return Channel(one), Channel(other)
