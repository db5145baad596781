"""HTTP connections for many calls at a time."""

from __future__ import annotations

from collections import deque

import httpx2
import openai


class Connections:
    """Connections of the openai client's kind, each for one call at a time; for several threads.

    A client with many connections looks at all of them, under one lock, at every call. With 64
    calls under way that takes longer than the rest of a call, so each has a client of its own.
    """

    def __init__(self, timeout_s: float) -> None:
        """Prepare; nothing is opened yet.

        Args:
            timeout_s: longest silence of the other side.
        """
        self._timeout = httpx2.Timeout(timeout_s)
        self._tls = httpx2.create_ssl_context()  # reads all trusted certificates, so only once
        self._idle: deque[httpx2.Client] = deque()

    def post(self, url: httpx2.URL, headers: httpx2.Headers, content: bytes) -> httpx2.Response:
        """Send one request, once, and read the whole response, whatever its status.

        Raises:
            httpx2.HTTPError: no response.
        """
        request = httpx2.Request(
            "POST",
            url,
            headers=headers,
            content=content,
            extensions={"timeout": self._timeout.as_dict()},
        )
        try:
            client = self._idle.pop()
        except IndexError:
            client = openai.DefaultHttpxClient(verify=self._tls)
        try:
            return client.send(request)
        finally:
            self._idle.append(client)

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()
