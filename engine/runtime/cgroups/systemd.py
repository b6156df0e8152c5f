"""systemd's manager, as far as a container's scope needs it: units made, changed and waited for.

It speaks D-Bus on the manager's own socket, which is root's alone and needs no bus daemon. Called by `v2_systemd`;
of the protocol there is no more here than these calls use (dbus.freedesktop.org/doc/dbus-specification.html).
"""

from __future__ import annotations

import os
import socket
import struct

from ..errors import RuntimeFailure, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SOCKET = "/run/systemd/private"
_TIMEOUT_S = 25.0  # D-Bus's own default
_PATH, _INTERFACE = "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager"
_CALL, _ERROR, _SIGNAL = 1, 3, 4
_FIELD_PATH, _FIELD_INTERFACE, _FIELD_MEMBER, _FIELD_ERROR, _FIELD_REPLY_TO, _FIELD_SIGNATURE = 1, 2, 3, 4, 5, 8
_KINDS = {"UnitExists": "conflict", "NoSuchUnit": "not_found"}
_NUMBERS = {"y": "B", "b": "I", "u": "I", "t": "Q"}
_ALIGNMENTS = {"y": 1, "g": 1, "v": 1, "b": 4, "u": 4, "s": 4, "o": 4, "a": 4, "t": 8, "(": 8}

Property = tuple[str, tuple[str, object]]
"""A unit's property: (name, (D-Bus signature, value))."""


class Manager:
    """A connection to systemd; use it in a `with` statement."""

    def __init__(self) -> None:
        self._serial = 0
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(_TIMEOUT_S)
        try:
            self._sock.connect(SOCKET)
            # All at once, as systemd's own clients do: it would not look at a call that came together with BEGIN.
            self._sock.sendall(b"\0AUTH EXTERNAL " + str(os.geteuid()).encode().hex().encode() + b"\r\nBEGIN\r\n")
            answer = self._sock.recv(512)
            if not answer.startswith(b"OK "):
                raise RuntimeFailure("internal", f"systemd refuses the connection: {answer.decode().strip()}")
        except OSError as error:
            self._sock.close()
            raise RuntimeFailure("internal", f"unable to reach systemd: {reason(error)}", error.errno or 0) from error
        except BaseException:
            self._sock.close()
            raise

    def __enter__(self) -> Manager:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def start_scope(self, unit: str, properties: list[Property]) -> None:
        """Make the scope and wait until it is there; its group then holds the processes of the property PIDs."""
        result = self._job("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "fail", properties, [])
        if result != "done":
            raise RuntimeFailure("internal", f"systemd could not start {unit}: {result}")

    def stop(self, unit: str) -> None:
        """End the unit, where there is one, and wait until its group is gone."""
        try:
            self._job("StopUnit", "ss", unit, "replace")
        except RuntimeFailure as failure:
            if failure.kind != "not_found":
                raise

    def set_properties(self, unit: str, properties: list[Property]) -> None:
        """Change a running unit, until it is gone."""
        self._call("SetUnitProperties", "sba(sv)", unit, True, properties)

    def _job(self, method: str, signature: str, *arguments: object) -> str:
        """Make a call that begins a job; return the job's result."""
        (job,) = self._call(method, signature, *arguments)
        while True:
            kind, fields, body = self._receive()
            if kind == _SIGNAL and fields.get(_FIELD_MEMBER) == "JobRemoved":
                _, removed, _, result = _get_all(body, fields[_FIELD_SIGNATURE])
                if removed == job:
                    return str(result)

    def _call(self, method: str, signature: str, *arguments: object) -> list[Any]:
        self._serial += 1
        body = bytearray()
        _put_all(body, signature, arguments)
        fields = [
            (_FIELD_PATH, ("o", _PATH)),
            (_FIELD_INTERFACE, ("s", _INTERFACE)),
            (_FIELD_MEMBER, ("s", method)),
            (_FIELD_SIGNATURE, ("g", signature)),
        ]
        head = bytearray(struct.pack("<cBBBII", b"l", _CALL, 0, 1, len(body), self._serial))
        _put(head, "a(yv)", fields)
        _pad(head, 8)
        try:
            self._sock.sendall(head + body)
            while True:
                kind, answer, data = self._receive()
                if answer.get(_FIELD_REPLY_TO) == self._serial:
                    break
        except OSError as error:
            raise RuntimeFailure("internal", f"systemd does not answer: {reason(error)}", error.errno or 0) from error
        values = _get_all(data, answer.get(_FIELD_SIGNATURE, ""))
        if kind == _ERROR:
            name = str(answer[_FIELD_ERROR])
            text = f"systemd: {values[0] if values else name}"
            raise RuntimeFailure(_KINDS.get(name.rpartition(".")[2], "internal"), text)
        return values

    def _receive(self) -> tuple[int, dict[int, Any], bytes]:
        """Return the next message's kind, header fields and body."""
        head = self._read(16)
        _, kind, _, _, body_size, _, fields_size = struct.unpack("<cBBBIII", head)
        fields_end = 16 + fields_size + -fields_size % 8
        data = head + self._read(fields_end - 16 + body_size)
        pairs, _ = _get(data, 12, "a(yv)")
        return kind, dict(pairs), data[fields_end:]

    def _read(self, size: int) -> bytes:
        chunks = b""
        while len(chunks) < size:
            chunk = self._sock.recv(size - len(chunks))
            if not chunk:
                raise RuntimeFailure("internal", "systemd has closed the connection")
            chunks += chunk
        return chunks


def _parts(signature: str) -> list[str]:
    """Split a signature into its complete types."""
    parts, begin = [], 0
    while begin < len(signature):
        end = begin
        while signature[end] == "a":
            end += 1
        depth = 0
        while True:
            depth += {"(": 1, ")": -1}.get(signature[end], 0)
            end += 1
            if depth == 0:
                break
        parts.append(signature[begin:end])
        begin = end
    return parts


def _pad(out: bytearray, alignment: int) -> None:
    out += bytes(-len(out) % alignment)


def _put_all(out: bytearray, signature: str, values: Any) -> None:
    for part, value in zip(_parts(signature), values, strict=True):
        _put(out, part, value)


def _put(out: bytearray, kind: str, value: Any) -> None:
    """Append a value of one complete type."""
    _pad(out, _ALIGNMENTS[kind[0]])
    if kind in _NUMBERS:
        out += struct.pack("<" + _NUMBERS[kind], value)
    elif kind in ("s", "o", "g"):
        text = value.encode()
        out += struct.pack("<B" if kind == "g" else "<I", len(text)) + text + b"\0"
    elif kind == "v":
        _put(out, "g", value[0])
        _put(out, value[0], value[1])
    elif kind[0] == "(":
        _put_all(out, kind[1:-1], value)
    else:
        size_at = len(out)
        out += bytes(4)
        _pad(out, _ALIGNMENTS[kind[1]])
        begin = len(out)
        for element in value:
            _put(out, kind[1:], element)
        struct.pack_into("<I", out, size_at, len(out) - begin)


def _get_all(data: bytes, signature: str) -> list[Any]:
    values, position = [], 0
    for part in _parts(signature):
        value, position = _get(data, position, part)
        values.append(value)
    return values


def _get(data: bytes, position: int, kind: str) -> tuple[Any, int]:
    """Return a value of one complete type and where it ends."""
    position += -position % _ALIGNMENTS[kind[0]]
    if kind in _NUMBERS:
        (number,) = struct.unpack_from("<" + _NUMBERS[kind], data, position)
        return number, position + struct.calcsize("<" + _NUMBERS[kind])
    if kind in ("s", "o", "g"):
        size, position = (data[position], position + 1) if kind == "g" else _get(data, position, "u")
        return data[position : position + size].decode(), position + size + 1
    if kind == "v":
        inner, position = _get(data, position, "g")
        return _get(data, position, inner)
    values = []
    if kind[0] == "(":
        for part in _parts(kind[1:-1]):
            value, position = _get(data, position, part)
            values.append(value)
        return values, position
    size, position = _get(data, position, "u")
    position += -position % _ALIGNMENTS[kind[1]]
    end = position + size
    while position < end:
        value, position = _get(data, position, kind[1:])
        values.append(value)
    return values, position
