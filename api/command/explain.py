"""`lightship explain`: what made a container, from the bundle, the kernel and the engine, in sections or as JSON."""

from __future__ import annotations

import argparse
import json
import os
from urllib.parse import quote

from ...engine.errors import Error, InvalidArgument
from . import evidence
from .client import Client
from .evidence import Facts
from .place import Place, known, place_of
from .terminal import coloured, table


def explain(options: argparse.Namespace) -> int:
    place = place_of(options.root) if options.root else _place_of_clients()
    document = Client(str(place.socket)).get(f"/v1.51/containers/{quote(options.container, safe='')}/json")
    if not document["State"]["Running"]:
        raise InvalidArgument(f"container {document['Name'][1:]} does not run: what made it is gone with it")
    found = _explained(document, place)
    if options.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join(_shown(found)))
    return 0


def _place_of_clients() -> Place:
    """The engine that DOCKER_HOST names, of those that are known here."""
    host = os.environ.get("DOCKER_HOST") or Place().host
    for place in known():
        if place.host == host:
            return place
    raise Error(f"{host} is no engine of this host that `lightship up` has started: name its --root")


def _explained(document: Facts, place: Place) -> Facts:
    pid, bundle = document["State"]["Pid"], place.exec_root / "tasks" / document["Id"]
    if not bundle.is_dir():
        raise InvalidArgument(f"{bundle} is not there: the engine has another exec root")
    spec, task = evidence.document_of(bundle, "config.json"), evidence.document_of(bundle, "task.json")
    joins, (mode, _, other) = task.get("joins", {}), document["HostConfig"]["NetworkMode"].partition(":")
    if mode == "container":
        joins["network"] = other
    steps = evidence.timeline(bundle, restarts=document["RestartCount"])
    network = evidence.network(document, pid)
    addresses = [
        endpoint[key].partition("/")[0]
        for endpoint in network["endpoints"]
        for key in ("address", "address6")
        if endpoint[key]
    ]
    return {
        "container": {
            "name": document["Name"][1:],
            "id": document["Id"],
            "image": document["Config"]["Image"],
            "started": document["State"]["StartedAt"],
            "restarts": document["RestartCount"],
        },
        "processes": evidence.processes(pid),
        "timeline": steps,
        "namespaces": evidence.namespaces(pid, joins, daemon_pid=_daemon_pid(place)),
        "mounts": evidence.mounts(pid, steps),
        "control_groups": evidence.control_groups(pid, steps),
        "network": network,
        "firewall": evidence.firewall_rules(addresses, _daemon_pid(place)) if addresses else [],
        "confinement": evidence.confinement(pid, spec),
        "files": evidence.files(document, bundle),
    }


def _daemon_pid(place: Place) -> int:
    """A process in the engine's network: the daemon, or we ourselves where it was started by others in the host's."""
    return place.pid() or os.getpid()


def _shown(found: Facts) -> list[str]:
    container = found["container"]
    lines = [
        f"{coloured(container['name'], 'bold')}  {container['id'][:12]}  of {container['image']}, "
        f"started {container['started']}, restarted {container['restarts']} times"
    ]
    sections = (
        ("Processes", [f"{each['pid']:>8}  {each['command']}" for each in found["processes"]]),
        ("Timeline", [_timed(step["ms"], f"{step['step']} {step['subject']}".strip()) for step in found["timeline"]]),
        ("Namespaces", _columns(found["namespaces"], ("name", "id", "owner"))),
        ("Mounts", [line for mount in found["mounts"] for line in _mount(mount)]),
        ("Control groups", _control_groups(found["control_groups"])),
        ("Network", _network(found["network"])),
        ("Firewall", [f"  {rule}" for rule in found["firewall"]] or ["  no rule names it"]),
        ("Confinement", _confinement(found["confinement"])),
        ("Files", [f"  {each['changed']}  {each['path']}" for each in found["files"]]),
    )
    for title, content in sections:
        lines += ["", coloured(title, "cyan"), *content]
    # Whole in JSON; here it would fill every second line
    return [line.replace(container["id"], container["id"][:12]) for line in lines]


def _timed(ms: float | None, text: str) -> str:
    return f"{f'+{ms:.2f} ms' if ms is not None else '':>13}  {text}"


def _columns(rows: list[Facts], names: tuple[str, ...]) -> list[str]:
    shown = table([name.upper() for name in names], [[str(row[name]) for name in names] for row in rows])
    return [f"  {line}" for line in shown.splitlines()]


def _mount(mount: Facts) -> list[str]:
    lines = [_timed(mount["ms"], f"{mount['target']}  {mount['type']} of {mount['source']} ({mount['options']})")]
    return lines + ([f"{'':>15}{mount['layers']}"] if mount["layers"] else [])


def _control_groups(groups: Facts) -> list[str]:
    lines = [f"  {group['controllers']:<14} {group['path']}" for group in groups["groups"]]
    return lines + [_timed(each["ms"], f"{each['file']} = {each.get('value', '')}") for each in groups["writes"]]


def _network(network: Facts) -> list[str]:
    lines = []
    for each in network["endpoints"]:
        addresses = " ".join(filter(None, (each["address"], each["address6"]))) or "no address"
        lines.append(
            f"  {each['network']}: {addresses} by {each['gateway'] or 'no gateway'}, {each['mac'] or 'no MAC'}"
        )
        if each["names"]:
            lines.append(f"    known as {', '.join(each['names'])}")
    return (
        lines + [f"  published {each}" for each in network["published"]] + [f"    {line}" for line in network["kernel"]]
    )


def _confinement(facts: Facts) -> list[str]:
    return [
        f"  capabilities  {' '.join(name.removeprefix('CAP_') for name in facts['capabilities']) or 'none'}",
        f"  kernel        {' '.join(f'{name}={value}' for name, value in facts['kernel'].items())}",
        f"  AppArmor      {facts['apparmor'] or 'not used'}",
        f"  masked        {' '.join(facts['masked']) or 'nothing'}",
        f"  read-only     {' '.join(facts['read_only']) or 'nothing'}",
        f"  devices       {facts['device_rules']} rules",
    ]
