"""The two kinds of plugins that networks have: those that make them, and those that give out their addresses.

What each is asked is libnetwork's protocol (`docs/remote.md` and `docs/ipam.md`). Made by `plugins.py`.
"""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from ...errors import Internal
from ...plugins.client import RETRY_DELAYS_S, Client, Unreachable

_LIMIT_S, _HURRY_S = 120.0, 8.0
RETRIES = len(RETRY_DELAYS_S)
_SCOPES = ("local", "global")

logger = logging.getLogger(__name__)


class RemotePlugin(Client):
    """What the two kinds have in common."""

    capability: ClassVar = ""
    kind: ClassVar = ""
    """What managed plugins call it in their configuration."""
    _error: ClassVar = ""
    """The field of an answer that tells of an error."""

    async def learn(self, *, retries: int) -> None:
        """Ask it what it is able to do."""
        raise NotImplementedError

    async def ask(
        self, verb: str, request: dict[str, Any] | None, *, retries: int = RETRIES, limit_s: float = _LIMIT_S
    ) -> dict[str, Any]:
        """Call one of its methods. Raises Internal."""
        answer = await self.call(f"{self.capability}.{verb}", request, timeout_s=limit_s, retries=retries)
        if answer.get(self._error):
            raise Internal(f"remote: {answer[self._error]}")
        return answer

    async def tell(self, verb: str, request: dict[str, Any], *, waits: bool = True) -> bool:
        """Ask for what nothing depends on, and tell whether the plugin answered; `waits` some seconds for it.

        A container that has ended is not gone before its plugins have heard of it, so that they are not waited for
        as long as by others.
        """
        try:
            await self.ask(verb, request, retries=2 if waits else 0, limit_s=_HURRY_S)
        except Internal as error:
            logger.warning("plugin %s: %s %s: %s", self.name, verb, request, error)
            return not isinstance(error, Unreachable)
        return True


class NetworkPlugin(RemotePlugin):
    """A plugin that makes networks."""

    capability = "NetworkDriver"
    kind = "networkdriver"
    _error = "Err"
    scope = "local"
    checks_gateways = False
    """Whether it wants to be asked if its networks need a gateway's address."""

    async def learn(self, *, retries: int) -> None:
        answer = await self.ask("GetCapabilities", None, retries=retries)
        scope = answer.get("Scope") or ""
        for told in (scope, answer.get("ConnectivityScope") or scope):
            if told not in _SCOPES:
                raise Internal(f"invalid capability: expecting 'local' or 'global', got {scope}")
        self.scope, self.checks_gateways = scope, bool(answer.get("GwAllocChecker"))


class AddressPlugin(RemotePlugin):
    """A plugin that gives out addresses."""

    capability = "IpamDriver"
    kind = "ipamdriver"
    _error = "Error"
    needs_mac_address = False
    needs_replay = False
    """Whether it forgets what it gave out, and is told by each daemon that starts."""

    async def learn(self, *, retries: int) -> None:
        try:
            answer = await self.ask("GetCapabilities", None, retries=retries)
        except Unreachable:
            raise
        except Internal:
            return  # a plugin need not know the question
        self.needs_mac_address = bool(answer.get("RequiresMACAddress"))
        self.needs_replay = bool(answer.get("RequiresRequestReplay"))
