"""An authorization plugin of the old protocol: it allows all but what a test refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .socket_plugin import SocketPlugin

Verdict = Callable[[dict[str, Any]], dict[str, Any] | None]


class AuthzPlugin(SocketPlugin):
    """`request` and `response` answer AuthZReq and AuthZRes; where they answer None it is allowed."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.implements = ["authz"]
        self.request: Verdict = lambda told: None
        self.response: Verdict = lambda told: None

    def asked(self, method: str, path: str) -> list[dict[str, Any]]:
        """Return what `AuthZReq` or `AuthZRes` was asked of requests whose URI ends so."""
        told = [request for called, request in self.calls if called == f"AuthZPlugin.{method}"]
        return [request for request in told if request["RequestUri"].endswith(path)]

    def answer(self, method: str, request: dict[str, Any]) -> dict[str, Any]:
        if method == "Plugin.Activate":
            return {"Implements": self.implements}
        verdict = self.request if method == "AuthZPlugin.AuthZReq" else self.response
        return verdict(request) or {"Allow": True}

    def status(self, answer: dict[str, Any]) -> int:
        return 500 if answer.get("Err") and "Allow" not in answer else 200
