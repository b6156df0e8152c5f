"""Chunked bodies, however they come in pieces."""

from __future__ import annotations

import socket
import threading

import pytest
from lightship.engine.containers.chunkedbody import ChunkedBody
from lightship.engine.snapshots.tar import TarError

WIRE = b"5\r\nhello\r\n1;name=value\r\n,\r\nA\r\n wide worl\r\n1\r\nd\r\n0\r\nTrailer: x\r\n\r\n"


def read_all(wire: bytes, *, first: int, piece: int) -> bytes:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)

        def send() -> None:
            for at in range(first, len(wire), piece):
                theirs.sendall(wire[at : at + piece])
            theirs.shutdown(socket.SHUT_WR)

        sender = threading.Thread(target=send)
        sender.start()
        body = ChunkedBody(ours.fileno(), wire[:first])
        try:
            found = b""
            while chunk := body.read(3):
                assert len(chunk) <= 3
                found += chunk
            assert body.read(3) == b""
            return found
        finally:
            sender.join()


@pytest.mark.parametrize("first", [0, 1, 4, 9, len(WIRE)])
@pytest.mark.parametrize("piece", [1, 2, 1000])
def test_pieces_do_not_matter(first: int, piece: int) -> None:
    assert read_all(WIRE, first=first, piece=piece) == b"hello, wide world"


@pytest.mark.parametrize(
    ("wire", "text"),
    [
        (b"5\r\nhel", "unexpected EOF"),
        (b"5\r\nhello\r\n", "unexpected EOF"),
        (b"-5\r\nhello\r\n0\r\n\r\n", "invalid byte in chunk length"),
        (b"\r\n", "invalid byte in chunk length"),
        (b"5\r\nhelloX\r\n0\r\n\r\n", "malformed chunked encoding"),
        (b"1" * 9000, "header line too long"),
    ],
)
def test_what_is_no_body_is_an_error(wire: bytes, text: str) -> None:
    with pytest.raises(TarError, match=text):
        read_all(wire, first=0, piece=1000)
