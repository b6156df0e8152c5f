"""Calls of the C library in a row, with nothing of the interpreter run in between.

Python changes memory with every step it takes. What replaces the memory under it has to be done between two of its
steps: each call gets a context of its own (makecontext(3)) that leads on to the next one's, the last to where the row
began. The contexts are in memory that is shared over forks, so that a child can say what comes next while its parent
waits in one of the calls.
"""

from __future__ import annotations

import ctypes
import mmap
import signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    Call = tuple[str, *tuple[int, ...]]

_library = ctypes.CDLL(None)
_STEP_BYTES = 16 * 1024
_CONTEXT_BYTES = 6 * 1024
"""Room for the largest ucontext_t (aarch64); what is left of a step is the call's stack."""


class _Context(ctypes.Structure):
    """The head of ucontext_t, <ucontext.h>."""

    _fields_ = [
        ("flags", ctypes.c_ulong),
        ("link", ctypes.c_void_p),
        ("stack", ctypes.c_void_p),
        ("stack_flags", ctypes.c_int),
        ("stack_size", ctypes.c_size_t),
    ]


class Row:
    """Room for `size` calls, while entered. Raises AttributeError where the C library has no contexts (musl).

    Signals wait until it is left: a handler would find a stack that is too small for it.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._make, self._get, self._swap = _library.makecontext, _library.getcontext, _library.swapcontext

    def __enter__(self) -> Row:
        self._area = mmap.mmap(-1, (self.size + 1) * _STEP_BYTES, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)
        self._first_byte = ctypes.c_char.from_buffer(self._area)
        self._start = ctypes.addressof(self._first_byte)
        self._signals = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        return self

    def __exit__(self, *_: object) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._signals)
        del self._first_byte
        self._area.close()

    def set(self, calls: Sequence[Call], *, first: int = 0) -> None:
        """Let these come from place `first` on, and then the end. The place that leads to them is written last."""
        if first + len(calls) > self.size:
            raise ValueError(f"{first + len(calls)} calls where there is room for {self.size}")
        for place in range(first + len(calls) - 1, first - 1, -1):
            name, *arguments = calls[place - first]
            address = self._address(place)
            self._get(ctypes.c_void_p(address))
            context = _Context.from_address(address)
            context.link = self._address(self.size if place == first + len(calls) - 1 else place + 1)
            context.stack, context.stack_size = address + _CONTEXT_BYTES, _STEP_BYTES - _CONTEXT_BYTES
            function = ctypes.cast(getattr(_library, name), ctypes.c_void_p)
            self._make(ctypes.c_void_p(address), function, len(arguments), *map(ctypes.c_long, arguments))

    def run(self) -> None:
        self._swap(ctypes.c_void_p(self._address(self.size)), ctypes.c_void_p(self._address(0)))

    def _address(self, place: int) -> int:
        return self._start + place * _STEP_BYTES
