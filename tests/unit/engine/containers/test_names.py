"""Names of containers: what is allowed, what is made up, and how a reference finds its container."""

from __future__ import annotations

from pathlib import Path

import pytest
from lightship.engine.containers import names
from lightship.engine.containers.container import Container
from lightship.engine.containers.record import ContainerRecord
from lightship.engine.containers.registry import Registry
from lightship.engine.errors import AlreadyExists, InvalidArgument, NotFound
from lightship.engine.store import Store
from lightship.openapi.types.config import Config
from lightship.openapi.types.hostconfig import HostConfig

FIRST, SECOND = "aa" + "1" * 62, "ab" + "2" * 62


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(Store(tmp_path / "db"))


def add(registry: Registry, container_id: str, name: str, created_ns: int = 1) -> Container:
    full_name = registry.reserve_name(name, container_id)
    record = ContainerRecord(
        id=container_id,
        name=full_name,
        created_ns=created_ns,
        path="sh",
        args=[],
        config=Config(),
        host_config=HostConfig(),
    )
    container = Container(record)
    registry.add(container)
    return container


@pytest.mark.parametrize("name", ["ab", "/ab", "a.b-c_d", "0x", "A" * 300])
def test_allowed_names(name: str) -> None:
    assert names.check(name) == "/" + name.removeprefix("/")


@pytest.mark.parametrize("name", ["", "/", "a", "-ab", ".ab", "a b", "a/b", "ä1", "//ab", "ab\n"])
def test_refused_names(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        names.check(name)
    assert str(caught.value) == f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"


def test_words_are_allowed_unique_and_many() -> None:
    assert len(set(names.ADJECTIVES)) == len(names.ADJECTIVES)
    assert len(set(names.NOUNS)) == len(names.NOUNS)
    assert len(names.ADJECTIVES) * len(names.NOUNS) > 20_000
    assert all(word.isascii() and word.islower() and word.isalpha() for word in names.ADJECTIVES + names.NOUNS)


def test_pick_falls_back_to_the_short_id() -> None:
    assert names.check(names.pick(FIRST, lambda name: False))
    assert names.pick(FIRST, lambda name: True) == f"/{FIRST[:12]}"


def test_references(registry: Registry) -> None:
    first, second = add(registry, FIRST, "one"), add(registry, SECOND, "aa1")
    assert registry.resolve(FIRST) is first
    assert registry.resolve("one") is registry.resolve("/one") is first
    assert registry.resolve("aa1") is second, "a name comes before a prefix"
    assert registry.resolve("aa") is first
    with pytest.raises(InvalidArgument, match="^multiple IDs found with provided prefix: a$"):
        registry.resolve("a")
    with pytest.raises(NotFound, match="^No such container: /on$"):
        registry.resolve("/on")
    with pytest.raises(InvalidArgument):
        registry.resolve("")


def test_a_taken_name_is_refused(registry: Registry) -> None:
    add(registry, FIRST, "one")
    with pytest.raises(AlreadyExists) as caught:
        registry.reserve_name("/one", SECOND)
    assert str(caught.value) == (
        f'Conflict. The container name "/one" is already in use by container "{FIRST}". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    registry = Registry(Store(tmp_path / "db"))
    add(registry, FIRST, "one", created_ns=20)
    add(registry, SECOND, "two", created_ns=10)
    registry.remove(add(registry, "c" * 64, "three"))
    again = Registry(Store(tmp_path / "db"))
    assert [container.id for container in again.load()] == [SECOND, FIRST]
    assert again.resolve("one").record == registry.resolve("one").record
    assert again.reserve_name("three", "d" * 64) == "/three"
