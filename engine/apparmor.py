"""AppArmor on this host: whether there is any, and the `docker-default` profile that containers run under.

The engine loads the profile when it starts, and again before a start or exec that finds it gone (package upgrades
unload what is not in /etc/apparmor.d). Which profile a container gets is `containers.security`'s choice, changing to it
the runtime's work.
"""

from __future__ import annotations

import asyncio
import os
from functools import cache

from . import errors

DEFAULT_PROFILE = "docker-default"
UNCONFINED = "unconfined"

_ENABLED = "/sys/module/apparmor/parameters/enabled"
_SECURITYFS = "/sys/kernel/security/apparmor"
_LOADED = f"{_SECURITYFS}/profiles"
_PARSER = "/sbin/apparmor_parser"
_POLICY = "/etc/apparmor.d"
# With the ABI of 4.0 on "network" no longer means unix sockets too.
_ABI = "abi/3.0"


@cache
def is_usable() -> bool:
    """Whether containers can have profiles: the kernel confines, its interface and the parser are there.

    Inside a container (`container` is set by convention) the host's policy is out of reach.
    """
    if os.getenv("container") or not (os.path.isdir(_SECURITYFS) and os.path.exists(_PARSER)):  # noqa: SIM112
        return False
    try:
        with open(_ENABLED, encoding="ascii") as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def is_loaded(name: str) -> bool:
    """Whether the kernel knows the profile (lines are `name (mode)`, and names may have spaces)."""
    with open(_LOADED, encoding="utf-8", errors="replace") as file:
        return any(line.rpartition(" (")[0] == name for line in file)


async def ensure_default() -> None:
    """Load the default profile where the kernel has lost it."""
    if not is_loaded(DEFAULT_PROFILE):
        await load_default()


async def load_default() -> None:
    """Load the default profile, in place of one that an older engine may have loaded."""
    # -K: the cache may be on a read-only file system; -r: replace.
    command = (_PARSER, "-Kr")
    pipe = asyncio.subprocess.PIPE
    parser = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.STDOUT)
    output, _ = await parser.communicate(profile(DEFAULT_PROFILE, engine_profile=_own_profile()).encode())
    if parser.returncode:
        raise errors.Internal(
            f"AppArmor enabled on system but the {DEFAULT_PROFILE} profile could not be loaded: running "
            f"'{' '.join(command)}' failed with output: {output.decode(errors='replace')}"
        )


def profile(name: str, *, engine_profile: str) -> str:
    """Return the profile's text: what dockerd's allows and denies."""
    abi = f"abi <{_ABI}>,\n" if _has_macro(_ABI) else ""
    tunables = "include <tunables/global>" if _has_macro("tunables/global") else "@{PROC}=/proc/"
    base = "include <abstractions/base>" if _has_macro("abstractions/base") else ""
    senders = "".join(f'  signal (receive) peer="{peer}",\n' for peer in ("unconfined", "runc", "crun", engine_profile))
    return f"""{abi}{tunables}

profile "{name}" flags=(attach_disconnected,mediate_deleted) {{
  {base}

  network,
  capability,
  file,
  umount,
  deny network alg,
  deny mount,

  # From outside come the engine's and the runtimes' signals only; inside, all of one profile may signal and trace.
{senders}  signal (send,receive) peer="{name}",
  ptrace (trace,tracedby,read,readby) peer="{name}",

  # In /proc a process may write below its own number, and to kernel.shm* of its IPC namespace.
  deny @{{PROC}}/* w,
  deny @{{PROC}}/{{[^1-9/],[^1-9/][^0-9/],[^1-9s/][^0-9y/][^0-9s/],[^1-9/][^0-9/][^0-9/][^0-9/]*}}/** w,
  deny @{{PROC}}/sys/[^k]** w,
  deny @{{PROC}}/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny @{{PROC}}/sysrq-trigger rwklx,
  deny @{{PROC}}/kcore rwklx,

  # In /sys, to the control groups alone.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def _has_macro(path: str) -> bool:
    return os.path.exists(f"{_POLICY}/{path}")


def _own_profile() -> str:
    """The profile that this process runs under."""
    try:
        with open("/proc/self/attr/current", encoding="utf-8") as file:
            return file.read().strip().rpartition(" (")[0] or UNCONFINED
    except OSError:
        return UNCONFINED
