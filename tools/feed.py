"""What a websocket sends: a reader of RFC 6455 for tools/client.py, by the standard library.

    with Feed("http://127.0.0.1:8188/ws?clientId=me") as feed:
        text = feed.receive(seconds=1.0)         # None when no text came in that time

Reads text; answers pings; passes over binary messages (ComfyUI's preview pictures). It sends nothing of its own.
"""

import base64
import hashlib
import os
import socket
import ssl
import struct
import time
import urllib.parse

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
TEXT, BINARY, CLOSE, PING = 1, 2, 8, 9
LARGEST = 1 << 28  # bytes of one message; ComfyUI's largest are preview pictures


class FeedClosed(OSError):
    """The other side closed the websocket, refused it, or does not speak its protocol."""


class Feed:
    """An open websocket. url: http(s) or ws(s); headers: more request headers; seconds: for connecting."""

    def __init__(self, url: str, headers: dict | None = None, seconds: float = 10):
        where = urllib.parse.urlsplit(url)
        secure = where.scheme in ("https", "wss")
        self._socket = socket.create_connection((where.hostname, where.port or (443 if secure else 80)), seconds)
        self._buffer, self._message, self._kind = bytearray(), bytearray(), 0
        try:
            if secure:
                self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=where.hostname)
            self._shake_hands(where, headers or {}, time.monotonic() + seconds)
        except BaseException:
            self.close()
            raise

    def receive(self, seconds: float) -> str | None:
        """The next text message, or None when none came within `seconds`. Raises FeedClosed, or OSError when the line breaks."""
        until = time.monotonic() + seconds
        while True:
            while (frame := self._frame()) is not None:
                text = self._take(*frame)
                if text is not None:
                    return text
            if (left := until - time.monotonic()) <= 0:
                return None
            self._read(left)

    def close(self) -> None:
        """Close the line; safe to call more than once."""
        self._socket.close()

    def __enter__(self) -> "Feed":
        return self

    def __exit__(self, *exc) -> None:
        self.close()

    # ---- opening ----

    def _shake_hands(self, where, headers: dict, until: float) -> None:
        key = base64.b64encode(os.urandom(16))
        asked = {"Host": where.netloc.rpartition("@")[2], "Upgrade": "websocket", "Connection": "Upgrade",
                 "Sec-WebSocket-Key": key.decode(), "Sec-WebSocket-Version": "13", **headers}
        target = urllib.parse.urlunsplit(("", "", where.path or "/", where.query, ""))
        lines = [f"GET {target} HTTP/1.1", *(f"{name}: {value}" for name, value in asked.items())]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        while b"\r\n\r\n" not in self._buffer:
            if time.monotonic() > until or len(self._buffer) > 65536:
                raise FeedClosed("no answer to the request for a websocket")
            self._read(until - time.monotonic())
        head, _, rest = bytes(self._buffer).partition(b"\r\n\r\n")
        self._buffer = bytearray(rest)
        status, *given = head.decode("latin-1").split("\r\n")
        answer = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in given)}
        expected = base64.b64encode(hashlib.sha1(key + ACCEPT, usedforsecurity=False).digest()).decode()
        if status.split()[1:2] != ["101"] or answer.get("sec-websocket-accept") != expected:
            raise FeedClosed(f"no websocket here: {status}")

    # ---- frames ----

    def _read(self, seconds: float) -> None:
        self._socket.settimeout(max(seconds, 0.001))
        try:
            data = self._socket.recv(65536)
        except (TimeoutError, socket.timeout, ssl.SSLWantReadError):
            return
        if not data:
            raise FeedClosed("the websocket was closed")
        self._buffer += data

    def _frame(self):
        """(last frame of its message?, opcode, payload) from the front of the buffer, or None while it is not whole."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        length, start = buffer[1] & 0x7F, 2
        if buffer[0] & 0x70 or buffer[1] & 0x80:  # an extension nobody asked for; a masked frame, which only clients send
            raise FeedClosed("the websocket speaks another protocol")
        if length > 125:
            start = 4 if length == 126 else 10
            if len(buffer) < start:
                return None
            length, = struct.unpack(">H" if length == 126 else ">Q", buffer[2:start])
        if length + len(self._message) > LARGEST:
            raise FeedClosed(f"a websocket message of {length} bytes is larger than {LARGEST}")
        if len(buffer) < start + length:
            return None
        first, payload = buffer[0], bytes(buffer[start:start + length])
        del buffer[:start + length]
        return bool(first & 0x80), first & 0x0F, payload

    def _take(self, last: bool, opcode: int, payload: bytes):
        if opcode == CLOSE:
            raise FeedClosed("the websocket was closed")
        if opcode == PING:
            self._answer_ping(payload)
        if opcode > BINARY:  # control frames may come between the frames of a message
            return None
        self._kind = opcode or self._kind
        self._message += payload
        if not last:
            return None
        message, self._message = self._message, bytearray()
        return message.decode("utf-8", "replace") if self._kind == TEXT else None

    def _answer_ping(self, payload: bytes) -> None:
        mask = os.urandom(4)  # a client's frames are masked
        self._socket.settimeout(10)
        self._socket.sendall(bytes([0x8A, 0x80 | len(payload)]) + mask + bytes(b ^ mask[i % 4] for i, b in enumerate(payload)))
