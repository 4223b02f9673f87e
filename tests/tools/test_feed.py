"""The websocket reader against the frames of RFC 6455, sent by a socket on loopback (a real ComfyUI is read in test_server.py)."""

import base64
import contextlib
import hashlib
import socket
import struct
import threading

import pytest
from fitting_room.tools.feed import Feed, FeedClosed


def frame(opcode, payload=b"", last=True) -> bytes:
    """One frame as a server sends it."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + struct.pack(">H", size) if size < 65536 else b"\x7f" + struct.pack(">Q", size)
    return bytes([(0x80 if last else 0) | opcode]) + length + payload


@contextlib.contextmanager
def line(accept=None, status="101 Switching Protocols"):
    """A feed and the socket at its other end, shaken hands; `accept` is sent instead of the right key."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        ends = []

        def answer():
            other, _ = listening.accept()
            head = b""
            while b"\r\n\r\n" not in head:
                head += other.recv(4096)
            key = next(text.split(b": ")[1] for text in head.split(b"\r\n") if text.lower().startswith(b"sec-websocket-key"))
            right = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
            other.sendall(b"HTTP/1.1 %s\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: %s\r\n\r\n" % (status.encode(), accept or right))
            ends.append((other, head))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            with Feed(f"http://127.0.0.1:{listening.getsockname()[1]}/ws?clientId=a%20b", {"X-Token": "t"}, seconds=5) as feed:
                thread.join()
                yield feed, *ends[0]
        finally:
            thread.join()
            for other, _ in ends:
                other.close()


def test_it_asks_for_a_websocket_with_our_headers():
    with line() as (_, _, head):
        assert head.startswith(b"GET /ws?clientId=a%20b HTTP/1.1\r\n") and b"X-Token: t" in head and b"Sec-WebSocket-Version: 13" in head


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 300_000])
def test_a_text_of_any_length_arrives_whole(size):
    with line() as (feed, other, _):
        sender = threading.Thread(target=other.sendall, args=(frame(1, b"x" * size),))
        sender.start()
        assert feed.receive(5) == "x" * size
        sender.join()


def test_a_text_in_pieces_with_a_ping_between_them_is_one_text_and_the_ping_is_answered():
    with line() as (feed, other, _):
        other.sendall(frame(1, b"first ", last=False) + frame(9, b"are you there") + frame(0, b"sec", last=False) + frame(0, "\u00f6nd".encode()))
        assert feed.receive(5) == "first sec\u00f6nd"
        pong = other.recv(100)
        assert pong[:2] == bytes([0x8A, 0x80 | 13])  # masked, as a client's frames are
        assert bytes(b ^ pong[2 + i % 4] for i, b in enumerate(pong[6:])) == b"are you there"


def test_pictures_are_passed_over_and_the_order_stays():
    with line() as (feed, other, _):
        other.sendall(frame(1, b"one") + frame(2, b"\x89PNG") + frame(1, b"two"))
        assert [feed.receive(5), feed.receive(5), feed.receive(0.01)] == ["one", "two", None]


def test_a_frame_that_arrives_byte_by_byte_waits_until_it_is_whole():
    with line() as (feed, other, _):
        whole = frame(1, b"y" * 200)
        for byte in whole[:-1]:
            other.sendall(bytes([byte]))
        assert feed.receive(0.2) is None
        other.sendall(whole[-1:])
        assert feed.receive(5) == "y" * 200


@pytest.mark.parametrize("sent", [frame(8, b"\x03\xe8"), b"", bytes([0xC1, 0]), bytes([0x81, 0x80]), b"\x82\x7f" + struct.pack(">Q", 1 << 40)],
                         ids=["close", "cut off", "compressed", "masked", "too large"])
def test_an_end_or_another_protocol_is_said(sent):
    with line() as (feed, other, _):
        other.sendall(sent)
        other.shutdown(socket.SHUT_WR)
        with pytest.raises(FeedClosed):
            feed.receive(5)


@pytest.mark.parametrize("answer", [{"accept": b"bm90IHRoZSBrZXk="}, {"status": "403 Forbidden"}])
def test_what_is_no_websocket_is_refused(answer):
    with pytest.raises(FeedClosed, match="no websocket here"), line(**answer):
        pass
