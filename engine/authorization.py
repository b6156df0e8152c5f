"""Authorization plugins: each in turn is asked about every request and every answer; all have to allow it.

The API asks (`api/authorization.py`); this module knows which plugins those are and what they have said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from .errors import Error, Forbidden, Internal
from .plugins import discovery
from .plugins.client import Client

CAPABILITY = "authz"
_ANSWER_S = 120.0


class Managed(Protocol):
    """The plugins that the engine runs itself, which go before those that it finds."""

    def authorization_plugin(self, name: str) -> Client | None:
        """Return the one of that name, None where there is none. Raises Conflict for one that is disabled."""


class Authorization:
    """The plugins that have to allow what clients want, in the order in which they were configured."""

    def __init__(self, names: Sequence[str], managed: Managed) -> None:
        self._managed = managed
        self._found: dict[str, Client] = {}
        self.names: Sequence[str] = ()
        self.reload(names)

    def reload(self, names: Sequence[str]) -> None:
        """Ask these from now on; each is looked for anew."""
        self.names = tuple(dict.fromkeys(names))
        self._found.clear()

    async def check(self, names: Sequence[str]) -> None:
        """Raise where one of the plugins is not there, or does not authorize."""
        for name in names:
            try:
                await self._load(name)
            except Error as error:
                raise type(error)(f"failed to validate authorization plugin: {error}") from error

    def forget(self, name: str) -> None:
        """Ask a managed plugin no more: it is about to be disabled."""
        self.names = tuple(each for each in self.names if self._full_name(each) != name)

    async def ask(self, verb: str, question: Mapping[str, Any]) -> None:
        """Ask all plugins `AuthZReq` or `AuthZRes`. Raises Forbidden where one denies, Internal where one fails."""
        for name in self.names:
            shown = name
            try:
                plugin = await self._get(name)
                shown = plugin.name
                answer = await plugin.call(f"AuthZPlugin.{verb}", question, timeout_s=_ANSWER_S)
            except Error as error:
                raise Internal(f"plugin {shown} failed with error: {error}") from error
            if answer.get("Allow") is not True:
                raise Forbidden(f"authorization denied by plugin {shown}: {answer.get('Msg') or ''}")

    async def _get(self, name: str) -> Client:
        if (found := self._managed.authorization_plugin(name)) is not None:
            return found
        if name not in self._found:
            self._found[name] = await self._load(name)
        return self._found[name]

    async def _load(self, name: str) -> Client:
        if (found := self._managed.authorization_plugin(name)) is not None:
            return found
        return await discovery.load(name, CAPABILITY, Client, retry=True)

    def _full_name(self, name: str) -> str:
        try:
            found = self._managed.authorization_plugin(name)
        except Error:
            return name
        return found.name if found is not None else name
