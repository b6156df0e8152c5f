"""Which plugins are asked, and what is made of their answers; the plugins themselves are stood in for."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from lightship.engine.authorization import Authorization
from lightship.engine.errors import Conflict, Error, Forbidden, Internal, NotFound
from lightship.engine.plugins import discovery
from lightship.engine.plugins.client import Client, Unreachable


class FakePlugin(Client):
    def __init__(self, name: str, answer: dict[str, Any] | Error) -> None:
        super().__init__(name, "unix:///none")
        self.answer, self.asked = answer, 0

    async def call(self, method: str, request: Any, *, timeout_s: float, retry: bool = True) -> dict[str, Any]:
        self.asked += 1
        if isinstance(self.answer, Error):
            raise self.answer
        return self.answer


class FakeManaged:
    """The engine's own plugins; a name has a tag once it is found, and None stands for one that is disabled."""

    def __init__(self, **plugins: FakePlugin | None) -> None:
        self.plugins = plugins

    def authorization_plugin(self, name: str) -> Client | None:
        if name not in self.plugins:
            return None
        if (found := self.plugins[name]) is None:
            raise Conflict(f"plugin {name}:latest found but disabled")
        return found


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "RETRY_DELAYS_S", ())


def ask(authorization: Authorization) -> None:
    asyncio.run(authorization.ask("AuthZReq", {}))


def test_each_is_asked_once_until_one_denies() -> None:
    first, second, third = (FakePlugin(f"{name}:latest", {"Allow": True}) for name in "abc")
    authorization = Authorization(["a", "b", "a", "c"], FakeManaged(a=first, b=second, c=third))
    ask(authorization)
    assert (first.asked, second.asked, third.asked) == (1, 1, 1)
    second.answer = {"Allow": False, "Msg": "no"}
    with pytest.raises(Forbidden, match=r"^authorization denied by plugin b:latest: no$"):
        ask(authorization)
    assert (first.asked, second.asked, third.asked) == (2, 2, 1)


@pytest.mark.parametrize("answer", [{}, {"Msg": None}, {"Allow": "yes"}, {"Allow": 1}])
def test_whatever_does_not_allow_denies(answer: dict[str, Any]) -> None:
    with pytest.raises(Forbidden, match=r"^authorization denied by plugin a: $"):
        ask(Authorization(["a"], FakeManaged(a=FakePlugin("a", answer))))


def test_failures() -> None:
    gone = FakePlugin("a", Unreachable("dial unix"))
    with pytest.raises(Internal, match=r"^plugin a failed with error: dial unix$"):
        ask(Authorization(["a"], FakeManaged(a=gone)))
    with pytest.raises(Internal, match=r'^plugin lightship-none failed with error: plugin "lightship-none" not found$'):
        ask(Authorization(["lightship-none"], FakeManaged()))


def test_what_is_checked() -> None:
    authorization = Authorization([], FakeManaged(a=None))
    said = "^failed to validate authorization plugin: "
    with pytest.raises(Conflict, match=f"{said}plugin a:latest found but disabled$"):
        asyncio.run(authorization.check(["a"]))
    with pytest.raises(NotFound, match=f'{said}plugin "lightship-none" not found$'):
        asyncio.run(authorization.check(["lightship-none"]))
    assert authorization.names == ()


def test_a_disabled_one_is_forgotten_by_any_of_its_names() -> None:
    managed = FakeManaged(a=FakePlugin("a:latest", {}), c=None)
    authorization = Authorization(["a", "b", "c"], managed)
    authorization.forget("a:latest")
    assert authorization.names == ("b", "c")
