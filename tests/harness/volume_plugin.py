"""A volume plugin of the old protocol.

It keeps directories below a folder of the test's, writes down what it is asked, and fails where a test wants it to.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .socket_plugin import SocketPlugin


class VolumePlugin(SocketPlugin):
    """One plugin; `calls` are (method, request) in the order in which they came, `mounts` the ids by volume."""

    def __init__(self, name: str, folder: Path) -> None:
        super().__init__(name)
        self.folder = folder
        self.scope = "global"
        self.implements = ["VolumeDriver"]
        self.volumes: dict[str, dict[str, str]] = {}
        self.mounts: dict[str, list[str]] = {}
        self.failures: dict[str, str] = {}

    def asked(self, method: str) -> list[dict[str, Any]]:
        return [request for called, request in self.calls if called == f"VolumeDriver.{method}"]

    def status(self, answer: dict[str, Any]) -> int:
        return 500 if answer.get("Err") and self.failures.get("status") else 200

    def answer(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        if method == "Plugin.Activate":
            return {"Implements": self.implements}
        short = method.removeprefix("VolumeDriver.")
        if short in self.failures:
            return {"Err": self.failures[short]}
        if short == "Capabilities":
            return {"Capabilities": {"Scope": self.scope}}
        if short == "List":
            return {"Volumes": [self._describe(name) for name in self.volumes], "Err": ""}
        return self._about(short, request["Name"], request)

    def _about(self, verb: str, name: str, request: dict[str, Any]) -> dict[str, Any]:
        if verb == "Create":
            self.volumes[name] = request.get("Opts") or {}
            (self.folder / name).mkdir(exist_ok=True)
            return {"Err": ""}
        if name not in self.volumes:
            return {"Err": "no such volume here"}
        if verb == "Get":
            return {"Volume": {**self._describe(name), "Status": {"colour": "blue"}}, "Err": ""}
        if verb == "Remove":
            del self.volumes[name]
            return {"Err": ""}
        if verb == "Mount":
            self.mounts.setdefault(name, []).append(request["ID"])
        elif verb == "Unmount":
            self.mounts[name].remove(request["ID"])
            return {"Err": ""}
        return {"Mountpoint": str(self.folder / name), "Err": ""}

    def _describe(self, name: str) -> dict[str, Any]:
        mounted = str(self.folder / name) if self.mounts.get(name) else ""
        return {"Name": name, "Mountpoint": mounted, "CreatedAt": "2024-05-06T07:08:09Z"}
