"""Detach keys: how they are written ("ctrl-p,ctrl-q") and how they are found in what a terminal sends.

The daemon uses `parse` to refuse bad keys, the shim both. Only terminals have detach keys, as in dockerd.
"""

from __future__ import annotations

DEFAULT = bytes((16, 17))
"""ctrl-p, ctrl-q"""

_CONTROL = "@abcdefghijklmnopqrstuvwxyz[\\]^_"


def parse(keys: str) -> bytes:
    """Return the bytes of a comma-separated key sequence; raise ValueError with Docker's words."""
    return b"".join(_key(key) for key in keys.split(",")) if keys else DEFAULT


def _key(key: str) -> bytes:
    if len(key.encode()) == 1:
        return key.encode()
    if key == "DEL":
        return b"\x7f"
    if key.startswith("ctrl-") and len(key) == 6 and key[5] in _CONTROL:
        return bytes((_CONTROL.index(key[5]),))
    raise ValueError(f"Unknown character: '{key}'")


class Scanner:
    """Finds the sequence in a stream of chunks; holds back what may be its beginning."""

    __slots__ = ("_keys", "_matched")

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._matched = 0

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """Return what is to be passed on, and whether the sequence was completed (the rest of `data` is dropped).

        A key that does not go on with the sequence is passed on with the keys held back before it, and is not taken
        as the beginning of a new one: "ctrl-p ctrl-p ctrl-q" does not detach. moby/term does the same.
        """
        if not self._matched and self._keys[0] not in data:
            return data, False
        passed = bytearray()
        for byte in data:
            if byte == self._keys[self._matched]:
                self._matched += 1
                if self._matched == len(self._keys):
                    return bytes(passed), True
            else:
                passed += self._keys[: self._matched]
                passed.append(byte)
                self._matched = 0
        return bytes(passed), False
