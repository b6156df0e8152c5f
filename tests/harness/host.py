"""What an engine has on its host at one moment, so that a test can show that it left nothing.

Taken from the kernel and the disk, not from the engine, but for its records, which are read through the API.
"""

from __future__ import annotations

import contextlib
import ctypes
import ctypes.util
import os
import subprocess
import time
from pathlib import Path

from .engine import Engine, cgroups_below
from .namespaces import ip
from .waiting import LIMIT_S

State = dict[str, set[str]]
WORKER = "lightship.engine.snapshots.worker"  # unpacks layers, ends when it had nothing to do for some seconds


def snapshot(engine: Engine) -> State:
    with engine.netns.entered():
        links = {line.split(":")[1].split("@")[0].strip() for line in ip("-o", "link").splitlines()}
        addresses = {" ".join(line.split()[1:4]) for line in ip("-o", "-4", "address").splitlines()}
        routes = {
            line.removesuffix("linkdown ").strip() for line in ip("-4", "route", "show", "table", "all").splitlines()
        }
        rules = _rules()
    return {
        "mounts": {line.split(" ", 2)[2] for line in Path("/proc/self/mountinfo").read_text().splitlines()},
        "processes": _processes(),
        "cgroups": {str(path) for path in cgroups_below(engine.cgroup_parent)},
        "links": links,
        "addresses": addresses,
        "routes": routes,
        "rules": rules,
        "files": _files(engine),
        "records": records(engine),
    }


def leaks(before: State, engine: Engine, *, but: str = "", timeout_s: float = LIMIT_S / 2) -> dict[str, list[str]]:
    """What is there that was not, but one kind, after the engine had time to finish its tearing down."""
    deadline = time.monotonic() + timeout_s
    while True:
        after = snapshot(engine)
        found = {
            kind: sorted(after[kind] - before[kind]) for kind in after if kind != but and after[kind] - before[kind]
        }
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def _processes() -> set[str]:
    """Everything in this run's mount namespace: daemons, shims, and what they left; containers have one of their
    own.
    """
    ours, found = os.readlink("/proc/self/ns/mnt"), set()
    for pid in (name for name in os.listdir("/proc") if name.isdigit()):
        with contextlib.suppress(OSError):
            if os.readlink(f"/proc/{pid}/ns/mnt") == ours and int(pid) != os.getpid():
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                if WORKER not in command:
                    found.add(f"{pid} {command[:120]}")
    return found


def _rules() -> set[str]:
    """Firewall rules of both kinds in the namespace that the caller is in; counters are left out."""
    rules = set()
    for command in ("iptables-save", "ip6tables-save"):
        done = subprocess.run([command], capture_output=True, text=True)
        rules |= {line.split(" [")[0] for line in done.stdout.splitlines() if not line.startswith("#")}
    return rules | set(_nft_ruleset().splitlines())


def _nft_ruleset() -> str:
    library = ctypes.CDLL("libnftables.so.1")
    library.nft_ctx_new.restype = ctypes.c_void_p
    library.nft_ctx_get_output_buffer.restype = ctypes.c_char_p
    context = ctypes.c_void_p(library.nft_ctx_new(0))
    try:
        library.nft_ctx_buffer_output(context)
        library.nft_ctx_output_set_flags(context, 1 << 2)  # NFT_CTX_OUTPUT_STATELESS: without counters
        library.nft_run_cmd_from_buffer(context, b"list ruleset")
        return (library.nft_ctx_get_output_buffer(context) or b"").decode()
    finally:
        library.nft_ctx_free(context)


_DOCKERDS_OWN = ("moby-detect", "docker-builder", "buildkit-mount")
"""What dockerd leaves behind: of looking at its file systems, of contexts whose Dockerfile it refused, of mounts."""


def _files(engine: Engine) -> set[str]:
    """Directories that hold one entry a container, snapshot or volume."""
    found = set()
    for folder in (
        "data/snapshots",
        "data/snapshots/l",
        "data/containers",
        "data/volumes",
        "data/tmp",
        "data/content/ingest",
        "data/overlay2",
        "run",
        "run/tasks",
    ):
        with contextlib.suppress(OSError):
            found |= {
                f"{folder}/{name}" for name in os.listdir(engine.root / folder) if not name.startswith(_DOCKERDS_OWN)
            }
    return found


def records(engine: Engine) -> set[str]:
    api = engine.api
    found = {f"container {c['Id'][:12]} {c['Names']}" for c in api.json("/containers/json?all=1")}
    found |= {f"volume {v['Name']}" for v in api.json("/volumes")["Volumes"] or []}
    found |= {f"network {n['Name']}" for n in api.json("/networks")}
    for image in api.json("/images/json?all=1"):
        found |= {f"image {image['Id']} {tag}" for tag in image["RepoTags"] or ["<none>"]}
    return found
