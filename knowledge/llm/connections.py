"""HTTP connections for many calls at a time.

At a thousand calls a second the client decides how many there are: of 50 ms calls, 64 at a time, a
call through the openai client's HTTP library costs 0.76 ms of CPU and one through the standard
library's parser on a socket 0.17 ms (two cores, busy). So a call goes through the latter, except
where a proxy or a redirect is in the way: then the openai client's library does what it always
does.
"""

from __future__ import annotations

import http.client
import io
import re
import select
import socket
import ssl
import time
import zlib
from collections import deque
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from typing import Any, Literal, cast
from urllib.request import getproxies, proxy_bypass

import httpx2
import openai

_REDIRECTS = (301, 302, 303, 307, 308)
_KEPT_S = 5.0
"""Longest idle time of a connection, as the openai client's; many servers close soon after."""
_HEADER_VALUE = re.compile(r"[!-~]([ -~\t]*[!-~])?")
Reason = Literal["connection", "header", "silence", "deadline"]
"""No connection or a broken one, a header that HTTP does not allow, or no answer in time."""

_BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


class Unreached(Exception):  # noqa: N818
    """A request without a whole response."""

    def __init__(self, reason: Reason, problem: str, *, is_sent: bool = True) -> None:
        """Describe it.

        Args:
            reason: what happened.
            problem: the same in words.
            is_sent: whether the other side may have got the request.
        """
        super().__init__(problem)
        self.reason = reason
        self.is_sent = is_sent


@dataclass(frozen=True, slots=True)
class Response:
    """A whole response, whatever its status."""

    status_code: int
    headers: Mapping[str, str]
    """Names in any case."""
    text: str

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success."""
        return 200 <= self.status_code < 300


class Connections:
    """Connections to one address, each for one call at a time; for several threads."""

    def __init__(
        self, url: str, headers: Mapping[str, str], timeout_s: float, deadline_s: float
    ) -> None:
        """Prepare; nothing is opened yet.

        Args:
            url: where to post.
            headers: of every request.
            timeout_s: longest silence of the other side.
            deadline_s: longest time to the end of a response, however it trickles in.
        """
        self._url = httpx2.URL(url)
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._headers = dict(headers)
        self._is_allowed = all(map(_HEADER_VALUE.fullmatch, self._headers.values()))
        self._head = _head(self._url, self._headers)
        self._is_direct = not _has_proxy(self._url)
        self._idle: deque[tuple[socket.socket, float]] = deque()
        """With the time since when."""
        self._clients: deque[httpx2.Client] = deque()

    def post(self, content: bytes) -> Response:
        """Send one request, once, and read the whole response.

        Raises:
            Unreached: there is none.
        """
        if not self._is_allowed:
            raise Unreached("header", "", is_sent=False)
        deadline = time.monotonic() + self._deadline_s
        if self._is_direct:
            response = self._post_directly(content, deadline)
            if response.status_code not in _REDIRECTS:
                return response
            self._is_direct = False
        try:
            return self._post_by_client(content, deadline)
        except httpx2.HTTPError as error:
            raise unreached(error) from None

    def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop()[0].close()
        while self._clients:
            self._clients.pop().close()

    def _post_directly(self, content: bytes, deadline: float) -> Response:
        try:
            connection = self._kept() or self._open()
        except OSError as error:
            raise Unreached(_reason(error), str(error), is_sent=False) from None
        is_kept = False
        try:
            connection.settimeout(min(self._timeout_s, self._deadline_s))
            connection.sendall(b"%b%d\r\n\r\n%b" % (self._head, len(content), content))
            source = cast(socket.socket, _Source(connection, self._timeout_s, deadline))
            response = http.client.HTTPResponse(source, method="POST")
            response.begin()
            data = response.read()
            is_kept = not response.will_close
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() >= deadline:
                raise self._overdue() from None
            raise Unreached(_reason(error), str(error)) from None
        finally:
            if is_kept:
                self._idle.append((connection, time.monotonic()))
            else:
                connection.close()
        headers = response.headers
        return Response(response.status, cast(Mapping[str, str], headers), _text(data, headers))

    def _kept(self) -> socket.socket | None:
        """An open connection that nobody uses."""
        while self._idle:
            try:
                connection, since = self._idle.pop()
            except IndexError:  # another thread took it
                return None
            look = select.poll()
            look.register(connection, select.POLLIN)
            if time.monotonic() - since < _KEPT_S and not look.poll(0):
                return connection
            connection.close()  # readable without a request: the other side closed it
        return None

    def _open(self) -> socket.socket:
        is_secure = self._url.scheme == "https"
        host, port = self._url.raw_host.decode(), self._url.port or (443 if is_secure else 80)
        timeout_s = min(self._timeout_s, self._deadline_s)
        connection: http.client.HTTPConnection
        if is_secure:
            connection = http.client.HTTPSConnection(
                host, port, timeout=timeout_s, context=self._tls
            )
        else:
            connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        connection.connect()
        opened: socket.socket = connection.sock
        return opened

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The openai client's trust; reading all certificates takes long, so only once."""
        context = httpx2.create_ssl_context()
        context.set_alpn_protocols(["http/1.1"])
        return context

    def _post_by_client(self, content: bytes, deadline: float) -> Response:
        """Through a client of its own: one with many connections looks at all at every call."""
        try:
            client = self._clients.pop()
        except IndexError:
            client = openai.DefaultHttpxClient(verify=self._tls, timeout=self._timeout_s)
        request = httpx2.Request(
            *("POST", self._url),
            headers=self._headers,
            content=content,
            extensions={"timeout": httpx2.Timeout(self._timeout_s).as_dict()},
        )
        try:
            with closing(client.send(request, stream=True)) as response:
                data = bytearray()
                for piece in response.iter_bytes():
                    data += piece
                    if time.monotonic() >= deadline:
                        raise self._overdue()
            text = data.decode(response.encoding or "utf-8", "replace")
            return Response(response.status_code, response.headers, text)
        finally:
            self._clients.append(client)

    def _overdue(self) -> Unreached:
        return Unreached("deadline", f"no whole answer within {self._deadline_s:g} s")


class _Source(io.RawIOBase):
    """What a connection brings, until a deadline."""

    def __init__(self, connection: socket.socket, timeout_s: float, deadline: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._deadline = deadline

    def makefile(self, mode: str) -> io.BufferedReader:
        """As of a socket; closing it leaves the connection open."""
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._connection.settimeout(min(self._timeout_s, left))
        return self._connection.recv_into(buffer)


def unreached(error: BaseException) -> Unreached:
    """The same for an error of the openai client or its HTTP library."""
    if isinstance(error, httpx2.LocalProtocolError):
        return Unreached("header", str(error), is_sent=False)
    return Unreached(_reason(error), str(error), is_sent=not isinstance(error, _BEFORE_SENDING))


def _reason(error: BaseException) -> Reason:
    is_silence = isinstance(error, (TimeoutError, httpx2.TimeoutException, openai.APITimeoutError))
    return "silence" if is_silence else "connection"


def _head(url: httpx2.URL, headers: Mapping[str, str]) -> bytes:
    """Everything before the length of a request's content."""
    lines = [b"POST %b HTTP/1.1" % url.raw_path, b"Host: %b" % url.netloc]
    lines += [f"{name}: {value}".encode("latin-1") for name, value in headers.items()]
    lines += [b"Accept-Encoding: identity", b"Connection: keep-alive", b"Content-Length: "]
    return b"\r\n".join(lines)


def _has_proxy(url: httpx2.URL) -> bool:
    """Whether the environment names a proxy for an address."""
    proxies = getproxies()
    if not any(proxies.get(scheme) for scheme in (url.scheme, "all")):
        return False
    return not proxy_bypass(url.netloc.decode())


def _text(data: bytes, headers: Message) -> str:
    """The text of a body, as the openai client's library decodes it."""
    if (coding := headers.get("content-encoding", "identity").lower()) != "identity":
        if coding not in ("gzip", "x-gzip", "deflate"):
            raise Unreached("connection", f"a response in the encoding {coding!r}")
        try:
            data = zlib.decompress(data, zlib.MAX_WBITS | 32)
        except zlib.error as error:
            raise Unreached("connection", f"cannot be decompressed: {error}") from None
    charset = "utf-8"
    if "charset" in headers.get("content-type", ""):
        charset = headers.get_content_charset(charset)
    try:
        return data.decode(charset, "replace")
    except LookupError:
        return data.decode("utf-8", "replace")
