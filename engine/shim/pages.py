"""Memory that an idle shim gives back.

A shim begins as a copy of the zygote, and shares each page until it writes there. CPython writes wherever it looks, for
it counts references in the objects; when all is done most counts are what they were, but the pages stay the shim's own.
So the zygote has its memory in a file that all of them map privately: a page that has become equal to the file's again
can be dropped, and whoever looks next finds the file's.

The shim stands still meanwhile, within a row of library calls: it waits for a child that compares, then drops what the
child has found. Where something of this is not possible shims are larger, and that is all.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import socket
from array import array

from ..runtime import linux
from ..runtime.row import Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..runtime.row import Call

PAGE_BYTES = mmap.PAGESIZE
MAX_RUNS = 250
"""How many runs of pages are dropped at a time; the row needs a few kilobytes for each meanwhile."""
_FILE = "lightship-zygote"
_MAP_FIXED, _MADV_DONTNEED = 0x10, 4  # <sys/mman.h>
_WALL = 0x40000000  # waitid(2): also children that end without a signal
# Documentation/admin-guide/mm/pagemap.rst
_PRESENT, _OF_FILE = 1 << 63, 1 << 61

_file_fd = -1


def share() -> None:
    """In the zygote, when everything is loaded: move its memory to a file."""
    global _file_fd
    before_fd = _file_fd
    # The row may need one more range itself
    with Row(2 * len(_ranges()) + 8) as row:
        ranges = _ranges()
        file_fd = os.memfd_create(_FILE, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        os.posix_fallocate(file_fd, 0, sum(end - start for start, end in ranges))
        calls: list[Call] = []
        offset = 0
        for start, end in ranges:
            calls.append(("pwrite", file_fd, start, end - start, offset))
            protection, flags = mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | _MAP_FIXED
            calls.append(("mmap", start, end - start, protection, flags, file_fd, offset))
            offset += end - start
        row.set(calls)
        row.run()
        _file_fd = file_fd
    if before_fd >= 0:
        os.close(before_fd)
    # Whatever changed in it would change in all of them
    fcntl.fcntl(file_fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW)


def give_back() -> None:
    """In a shim that has nothing to do: drop the pages that are what they were in the zygote."""
    if _file_fd < 0:
        return
    ours, theirs = socket.socketpair()
    with ours, Row(2 + MAX_RUNS) as row:
        byte = array("b", (0,))
        address, _ = byte.buffer_info()
        row.set([("write", ours.fileno(), address, 1), ("read", ours.fileno(), address, 1), ("getpid",)])
        shim_pid = os.getpid()
        # Nobody is to be told of its end: the shim would have something to do again
        child_pid, child_fd = linux.clone3(0, exit_signal=0)
        if child_pid == 0:
            ours.close()
            _compare(shim_pid, theirs, row)
        theirs.close()
        row.run()
        os.waitid(os.P_PIDFD, child_fd, os.WEXITED | _WALL)
        os.close(child_fd)


def _compare(shim_pid: int, shim: socket.socket, row: Row) -> None:
    """In the child: when the shim stands still, say what it is to drop; our end lets it go on."""
    try:
        shim.recv(1)
        drops = sorted(_unchanged(shim_pid), key=lambda run: run[0] - run[1])[:MAX_RUNS]
        if drops:
            row.set([("madvise", start, end - start, _MADV_DONTNEED) for start, end in drops], first=2)
    finally:
        os._exit(0)


def _unchanged(pid: int) -> Iterator[tuple[int, int]]:
    """Yield the runs of pages that the process has copied and that are equal to the file's."""
    memory_fd = os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
    pagemap_fd = os.open(f"/proc/{pid}/pagemap", os.O_RDONLY | os.O_CLOEXEC)
    inode = str(os.fstat(_file_fd).st_ino)
    for start, end, line in _maps(pid):
        _, _, file_offset, _, mapped_inode, *name = line.split()
        if mapped_inode != inode or name[:1] != [f"/memfd:{_FILE}"]:
            continue
        offset = int(file_offset, 16) - start
        entries = array("Q", os.pread(pagemap_fd, (end - start) // PAGE_BYTES * 8, start // PAGE_BYTES * 8))
        run = start
        for page, entry in zip(range(start, end, PAGE_BYTES), entries, strict=True):
            is_copy = entry & _PRESENT and not entry & _OF_FILE
            if is_copy and os.pread(memory_fd, PAGE_BYTES, page) == os.pread(_file_fd, PAGE_BYTES, page + offset):
                continue
            if run < page:
                yield run, page
            run = page + PAGE_BYTES
        if run < end:
            yield run, end


def _ranges() -> list[tuple[int, int]]:
    """Return what this process can write to and shares with nobody, but its stack and what the kernel writes to."""
    locate = ctypes.CDLL(None).__errno_location
    locate.restype = ctypes.c_void_p
    # The thread's own block, where the kernel notes the processor for restartable sequences
    own = locate() // PAGE_BYTES * PAGE_BYTES
    found = []
    for start, end, line in _maps("self"):
        if " rw-p " not in line or "[stack]" in line:
            continue
        if start <= own < end:
            found += [(start, own - PAGE_BYTES), (own + 2 * PAGE_BYTES, end)]
        else:
            found.append((start, end))
    return [(start, end) for start, end in found if start < end]


def _maps(pid: int | str) -> Iterator[tuple[int, int, str]]:
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            start, _, end = line.partition(" ")[0].partition("-")
            yield int(start, 16), int(end, 16), line
