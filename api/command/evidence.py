"""What `lightship explain` reads: the bundle that the daemon and the shim wrote, the kernel's files, the firewall.

Everything is read after the fact; only the times were noted while the container was made (`engine/runtime/trace.py`).
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import netns

NAMESPACES = ("cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts")
_CONFINEMENT = ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp", "Seccomp_filters")
_PATHS = ("HostnamePath", "HostsPath", "ResolvConfPath", "LogPath")
Facts = dict[str, Any]


def timeline(bundle: Path, *, restarts: int) -> list[Facts]:
    """The steps of the last start with their times in ms from the first; without the daemon's where the shim alone
    has started it again."""
    steps = [] if restarts else _json(bundle / "task.json", {}).get("trace", [])
    steps = sorted([*steps, *_json(bundle / "trace.json", [])])
    return [{"ms": (at - steps[0][0]) / 1e6, "step": what, "subject": subject} for at, what, subject in steps]


def namespaces(pid: int, joins: dict[str, str], *, daemon_pid: int) -> list[Facts]:
    """Each namespace, and whose it is."""
    found = []
    for name in NAMESPACES:
        with contextlib.suppress(OSError):
            link = os.readlink(f"/proc/{pid}/ns/{name}")
            other = joins.get({"net": "network", "mnt": "mount"}.get(name, name))
            is_hosts = link == os.readlink(f"/proc/{daemon_pid}/ns/{name}")
            owner = f"container {other[:12]}" if other else "the engine's" if is_hosts else "its own"
            found.append({"name": name, "id": link.partition("[")[2].rstrip("]"), "owner": owner})
    return found


def mounts(pid: int, steps: list[Facts]) -> list[Facts]:
    """The mounts in the order in which they lie on each other, with the time of each that was made on its own."""
    times = {step["subject"]: step["ms"] for step in steps if step["step"] == "mounted"}
    found = []
    for line in _lines(f"/proc/{pid}/mountinfo"):
        fields, _, rest = line.partition(" - ")
        _, _, _, inside, target, options, *_ = fields.split()
        kind, source, more = rest.split(" ", 2)
        found.append(
            {
                "target": target, "type": kind, "source": source if inside == "/" else f"{source}[{inside}]",
                "options": options, "layers": more if kind == "overlay" else "", "ms": times.get(target),
            }
        )  # fmt: skip
    return found


def control_groups(pid: int, steps: list[Facts]) -> Facts:
    """Where it is in each hierarchy, and each value that was written."""
    groups = [line.split(":", 2) for line in _lines(f"/proc/{pid}/cgroup")]
    written = [step for step in steps if step["step"] == "wrote"]
    return {
        "groups": [{"controllers": names or "(unified)", "path": path} for _, names, path in groups],
        "writes": [
            dict(zip(("file", "value"), step["subject"].split(" = ", 1), strict=False), ms=step["ms"])
            for step in written
        ],
    }


def network(document: Facts, pid: int) -> Facts:
    """Endpoints as the engine gave them, and what the kernel has of them."""
    settings = document["NetworkSettings"]
    endpoints = [
        {
            "network": name, "address": _with_length(endpoint["IPAddress"], endpoint["IPPrefixLen"]),
            "address6": _with_length(endpoint["GlobalIPv6Address"], endpoint["GlobalIPv6PrefixLen"]),
            "gateway": endpoint["Gateway"], "mac": endpoint["MacAddress"], "names": endpoint["DNSNames"] or [],
        }
        for name, endpoint in settings["Networks"].items()
    ]  # fmt: skip
    published = [
        f"{binding['HostIp']}:{binding['HostPort']} -> {port}"
        for port, bindings in (settings["Ports"] or {}).items()
        for binding in bindings or ()
    ]
    kernel: list[str] = []
    if program := shutil.which("ip"):
        with contextlib.suppress(OSError), netns.entered(Path(f"/proc/{pid}/ns/net")):
            for words in (["-br", "address"], ["route"]):
                kernel += subprocess.run([program, *words], capture_output=True, text=True).stdout.splitlines()
    return {"endpoints": endpoints, "published": published, "kernel": kernel}


def firewall_rules(addresses: list[str], daemon_pid: int) -> list[str]:
    """The rules and elements that name its addresses, in the network of its engine."""
    found: list[str] = []
    with netns.entered(Path(f"/proc/{daemon_pid}/ns/net")):
        for command in (["nft", "list", "ruleset"], ["iptables-save"], ["ip6tables-save"]):
            program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
            if program:
                done = subprocess.run([program, *command[1:]], capture_output=True, text=True)
                lines = (line.strip() for line in done.stdout.splitlines())
                found += [f"{command[0]}: {line}" for line in lines if any(_names(line, each) for each in addresses)]
    return found


def confinement(pid: int, spec: Facts) -> Facts:
    status = dict(line.split(":\t", 1) for line in _lines(f"/proc/{pid}/status") if ":\t" in line)
    linux = spec.get("linux", {})
    return {
        "capabilities": sorted(spec["process"].get("capabilities", {}).get("bounding", [])),
        "kernel": {name: status[name].strip() for name in _CONFINEMENT if name in status},
        "apparmor": spec["process"].get("apparmorProfile", ""),
        "masked": linux.get("maskedPaths") or [],
        "read_only": linux.get("readonlyPaths") or [],
        "device_rules": len(linux.get("resources", {}).get("devices") or []),
    }


def files(document: Facts, bundle: Path) -> list[Facts]:
    """What was written for it on the host, with the time of the last change."""
    paths = [document[name] for name in _PATHS if document.get(name)]
    paths += [str(path) for path in sorted(bundle.iterdir()) if path.is_file()]
    upper = ((document.get("GraphDriver") or {}).get("Data") or {}).get("UpperDir")
    found = []
    for path in [*paths, *([upper] if upper else [])]:
        with contextlib.suppress(OSError):
            changed = datetime.fromtimestamp(os.stat(path).st_mtime, UTC).isoformat(timespec="milliseconds")
            found.append({"path": path, "changed": changed.replace("+00:00", "Z")})
    return found


def processes(pid: int) -> list[Facts]:
    """The container's first process, its shim, and what the shim belongs to."""
    found: list[Facts] = []
    while pid > 0 and len(found) < 3:
        fields = dict(line.split(":\t", 1) for line in _lines(f"/proc/{pid}/status") if ":\t" in line)
        if not fields:
            break
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        found.append({"pid": pid, "command": command or fields["Name"]})
        pid = int(fields["PPid"])
    return found


def document_of(bundle: Path, name: str) -> Facts:
    found: Facts = _json(bundle / name, {})
    return found


def _names(line: str, address: str) -> bool:
    """Whether a rule names the address, and not one that begins with it."""
    start = line.find(address)
    return start >= 0 and not line[start + len(address) : start + len(address) + 1].isdigit()


def _with_length(address: str, length: int) -> str:
    return f"{address}/{length}" if address else ""


def _json(path: Path, default: Any) -> Any:
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return default


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
