"""bpf(2), as far as the device rules of cgroup v2 need it: programs of the kind BPF_PROG_TYPE_CGROUP_DEVICE."""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_uint, c_uint32, c_uint64, c_void_p

from ..constants import (
    BPF_CGROUP_DEVICE,
    BPF_F_ALLOW_MULTI,
    BPF_PROG_ATTACH,
    BPF_PROG_DETACH,
    BPF_PROG_GET_FD_BY_ID,
    BPF_PROG_LOAD,
    BPF_PROG_QUERY,
    BPF_PROG_TYPE_CGROUP_DEVICE,
)
from ..linux import Call

_bpf = Call("bpf", c_int, c_void_p, c_uint)


def load(instructions: bytes) -> int:
    """Load a program and return its descriptor."""
    code = ctypes.create_string_buffer(instructions, len(instructions))
    license_ = ctypes.create_string_buffer(b"Apache")
    head = (c_uint32 * 2)(BPF_PROG_TYPE_CGROUP_DEVICE, len(instructions) // 8)
    attr = bytes(head) + bytes((c_uint64 * 2)(ctypes.addressof(code), ctypes.addressof(license_))) + bytes(32)
    buffer = ctypes.create_string_buffer(attr, len(attr))
    return _bpf(BPF_PROG_LOAD, buffer, len(attr))


def attach(cgroup_fd: int, program_fd: int) -> None:
    attr = (c_uint32 * 4)(cgroup_fd, program_fd, BPF_CGROUP_DEVICE, BPF_F_ALLOW_MULTI)
    _bpf(BPF_PROG_ATTACH, attr, ctypes.sizeof(attr))


def detach(cgroup_fd: int, program_fd: int) -> None:
    attr = (c_uint32 * 3)(cgroup_fd, program_fd, BPF_CGROUP_DEVICE)
    _bpf(BPF_PROG_DETACH, attr, ctypes.sizeof(attr))


def attached(cgroup_fd: int) -> list[int]:
    """Return the ids of the programs attached to this very cgroup."""
    ids = (c_uint32 * 64)()
    head = bytes((c_uint32 * 4)(cgroup_fd, BPF_CGROUP_DEVICE, 0, 0))
    attr = ctypes.create_string_buffer(head + bytes(c_uint64(ctypes.addressof(ids))) + bytes(c_uint32(64)) + bytes(4))
    _bpf(BPF_PROG_QUERY, attr, 32)
    count = int.from_bytes(attr.raw[24:28], "little")
    return list(ids[:count])


def program_fd(program_id: int) -> int:
    """Return a descriptor of a program that is there."""
    attr = (c_uint32 * 3)(program_id, 0, 0)
    return _bpf(BPF_PROG_GET_FD_BY_ID, attr, ctypes.sizeof(attr))
