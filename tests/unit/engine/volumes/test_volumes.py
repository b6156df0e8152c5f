"""Sentences were taken from dockerd 28.5.2 by sending it the same requests."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import Any

import pytest
from lightship.engine.errors import Conflict, Error, InvalidArgument, NotFound
from lightship.engine.events import Events
from lightship.engine.filters import Filters
from lightship.engine.plugins import discovery
from lightship.engine.store import Store
from lightship.engine.volumes.volumes import Volumes
from lightship.openapi.types.system import EventMessage
from lightship.openapi.types.volumes import Volume, VolumeCreateRequest


class Service:
    """The service, run synchronously, with what it told the event stream."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.events = Events()
        self.volumes = Volumes(Store(directory / "db"), self.events, directory / "volumes")
        self.volumes.load()

    def create(self, **fields: Any) -> Volume:
        return asyncio.run(self.volumes.create(VolumeCreateRequest(**fields)))

    def remove(self, name: str, *, force: bool = False) -> None:
        asyncio.run(self.volumes.remove(name, force=force))

    def names(self, **filters: list[str]) -> set[str]:
        found, warnings = asyncio.run(self.volumes.list(Filters(filters)))
        assert not warnings
        return {volume.name for volume in found}

    def prune(self, **filters: list[str]) -> tuple[set[str], int]:
        names, space = asyncio.run(self.volumes.prune(Filters(filters)))
        return set(names), space

    def told(self) -> list[tuple[str, str, dict[str, str]]]:
        async def read() -> list[EventMessage]:
            return [event async for event in self.events.subscribe(Filters(), since_ns=0, until_ns=time.time_ns())]

        return [(event.action, event.actor.id, event.actor.attributes or {}) for event in asyncio.run(read())]


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setattr(discovery, "RETRY_DELAYS_S", ())
    return Service(tmp_path)


def test_named_volume(service: Service) -> None:
    volume = service.create(name="ab", labels={"k": "v"})
    assert (volume.name, volume.driver, volume.scope, volume.labels) == ("ab", "local", "local", {"k": "v"})
    assert volume.options is None
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", str(volume.created_at))
    assert volume.mountpoint == str(service.directory / "volumes/ab/_data")
    assert Path(volume.mountpoint).stat().st_mode & 0o777 == 0o755
    assert (service.directory / "volumes/ab").stat().st_mode & 0o777 == 0o701


def test_anonymous_volume(service: Service) -> None:
    volume = service.create()
    assert re.fullmatch("[0-9a-f]{64}", volume.name)
    assert volume.labels == {"com.docker.volume.anonymous": ""}


def test_create_again_returns_the_first(service: Service) -> None:
    """P63"""
    first = service.create(name="ab")
    assert service.create(name="ab", labels={"a": "b"}, driver_opts={"type": "tmpfs", "device": "tmpfs"}) == first


REFUSED: list[tuple[dict[str, Any], type[Error], str]] = [
    (
        {"name": "s"},
        InvalidArgument,
        "create s: volume name is too short, names should be at least two alphanumeric characters",
    ),
    (
        {"name": "a/b"},
        InvalidArgument,
        'create a/b: "a/b" includes invalid characters for a local volume name, only "[a-zA-Z0-9][a-zA-Z0-9_.-]" are '
        "allowed. If you intended to pass a host directory, use absolute path",
    ),
    (
        {"name": "ab", "driver": "nope"},
        NotFound,
        'create ab: error looking up volume plugin nope: plugin "nope" not found',
    ),
    ({"name": "ab", "driver_opts": {"foo": "x"}}, InvalidArgument, 'create ab: invalid option: "foo"'),
    ({"name": "ab", "driver_opts": {"type": "x"}}, InvalidArgument, 'create ab: missing required option: "device"'),
    ({"name": "ab", "driver_opts": {"o": "x"}}, InvalidArgument, 'create ab: missing required option: "device"'),
    ({"name": "ab", "driver_opts": {"device": "x"}}, InvalidArgument, 'create ab: missing required option: "type"'),
    ({"name": "ab", "driver_opts": {"size": "x"}}, InvalidArgument, "create ab: invalid size: 'x'"),
    (
        {"name": "ab", "driver_opts": {"size": "10m"}},
        InvalidArgument,
        "create ab: quota size requested but no quota support",
    ),
    (
        {"name": "ab", "driver_opts": {"type": "cifs", "device": "//h:80/x"}},
        InvalidArgument,
        "create ab: port not allowed in CIFS device URL, include 'port' in 'o='",
    ),
]


@pytest.mark.parametrize(("fields", "kind", "sentence"), REFUSED, ids=[sentence[:50] for _, _, sentence in REFUSED])
def test_refused(service: Service, fields: dict[str, Any], kind: type[Error], sentence: str) -> None:
    with pytest.raises(kind) as raised:
        service.create(**fields)
    assert str(raised.value) == sentence
    assert service.names() == set()
    assert list((service.directory / "volumes").iterdir()) == []


@pytest.mark.parametrize("name", ["..", ".", "a" * 256, "a\0b", "-ab", "ab\n"])
def test_name_cannot_lead_elsewhere(service: Service, name: str) -> None:
    with pytest.raises(InvalidArgument):
        service.create(name=name)


def test_unknown_volume(service: Service) -> None:
    with pytest.raises(NotFound, match="^get nope: no such volume$"):
        asyncio.run(service.volumes.inspect("nope"))
    with pytest.raises(NotFound, match="^get nope: no such volume$"):
        service.remove("nope")
    service.remove("nope", force=True)


def test_volume_in_use_stays(service: Service) -> None:
    asyncio.run(service.volumes.acquire("ab", "c2"))
    service.volumes.hold("ab", "c1")
    for force in (False, True):
        with pytest.raises(Conflict, match=r"^remove ab: volume is in use - \[c1, c2\]$"):
            service.remove("ab", force=force)
    service.volumes.release("ab", "c1")
    service.volumes.release("ab", "c2")
    service.volumes.release("ab", "c2")
    service.remove("ab")
    assert not (service.directory / "volumes/ab").exists()


def test_name_of_every_length_can_be_removed(service: Service) -> None:
    service.create(name="a" * 255)
    service.remove("a" * 255)
    assert list((service.directory / "volumes").iterdir()) == []


def test_list_filters(service: Service) -> None:
    service.create(name="plain")
    service.create(name="labelled", labels={"k": "v", "l": ""})
    asyncio.run(service.volumes.acquire("used", "c1"))
    assert service.names(dangling=["true"]) == {"plain", "labelled"}
    assert service.names(dangling=["false"]) == {"used"}
    assert service.names(label=["k"]) == service.names(label=["k=v", "l"]) == {"labelled"}
    assert service.names(label=["k", "z"]) == set()
    assert service.names(name=["lab"]) == service.names(name=["^labelled$"]) == {"labelled"}
    assert service.names(driver=["nope"]) == set()
    assert service.names(driver=["local"]) == {"plain", "labelled", "used"}


@pytest.mark.parametrize("filters", [{"foo": ["x"]}, {"dangling": ["x"]}, {"label!": ["k"]}])
def test_list_filters_that_are_refused(service: Service, filters: dict[str, list[str]]) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter"):
        service.names(**filters)


def test_prune_takes_unused_anonymous_volumes(service: Service) -> None:
    anonymous = service.create()
    (Path(anonymous.mountpoint) / "file").write_bytes(b"x" * 1000)
    service.create(name="named")
    used = asyncio.run(service.volumes.acquire("", "c1"))
    assert service.prune() == ({anonymous.name}, 1000)
    assert service.names() == {"named", used.name}


def test_prune_all_spares_volumes_with_options(service: Service) -> None:
    service.create(name="named", labels={"keep": "no"})
    service.create(name="kept", labels={"keep": "yes"})
    service.create(name="device", driver_opts={"type": "tmpfs", "device": "tmpfs"})
    assert service.prune(all=["1"], **{"label!": ["keep=yes"]})[0] == {"named"}
    assert service.prune(all=["true"], label=["keep"])[0] == {"kept"}
    assert service.names() == {"device"}


@pytest.mark.parametrize(
    ("filters", "sentence"),
    [
        ({"foo": ["x"]}, "invalid filter 'foo'"),
        ({"dangling": ["true"]}, "invalid filter 'dangling'"),
        ({"all": ["x"]}, "invalid filter 'all': strconv.ParseBool: parsing \"x\": invalid syntax"),
        ({"all": ["1", "0"]}, "invalid filter 'all=[1 0]': only one value is expected"),
    ],
)
def test_prune_with_a_bad_filter_removes_nothing(
    service: Service, filters: dict[str, list[str]], sentence: str
) -> None:
    service.create()
    with pytest.raises(InvalidArgument) as raised:
        service.prune(**filters)
    assert str(raised.value) == sentence
    assert len(service.names()) == 1


def test_events(service: Service) -> None:
    """P80: each volume's destroy comes before the prune."""
    name = service.create().name
    service.prune()
    assert service.told() == [
        ("create", name, {"driver": "local"}),
        ("destroy", name, {"driver": "local"}),
        ("prune", "", {"reclaimed": "0"}),
    ]


def test_everything_is_there_after_a_restart(tmp_path: Path) -> None:
    before = Service(tmp_path)
    volume = before.create(name="ab", labels={"k": "v"}, driver_opts={"size": "0"})
    after = Service(tmp_path)
    assert asyncio.run(after.volumes.inspect("ab")) == volume


def test_directories_and_records_are_brought_into_line(tmp_path: Path) -> None:
    service = Service(tmp_path)
    service.create(name="lost-directory")
    (tmp_path / "volumes/lost-directory/_data").rmdir()
    (tmp_path / "volumes/lost-directory").rmdir()
    (tmp_path / "volumes/lost-record/_data").mkdir(parents=True)
    (tmp_path / "volumes/no-volume").mkdir()
    (tmp_path / "volumes/.removing-half/_data").mkdir(parents=True)
    restarted = Service(tmp_path)
    assert restarted.names() == {"lost-directory", "lost-record"}
    assert (tmp_path / "volumes/lost-directory/_data").is_dir()
    assert not (tmp_path / "volumes/.removing-half").exists()


def test_usage_counts_each_inode_once(service: Service) -> None:
    volume = asyncio.run(service.volumes.acquire("ab", "c1"))
    file = Path(volume.path) / "deep" / "file"
    file.parent.mkdir()
    file.write_bytes(b"x" * 500)
    file.with_name("link").hardlink_to(file)
    (usage,) = asyncio.run(service.volumes.usage())
    assert usage.usage_data and (usage.usage_data.size, usage.usage_data.ref_count) == (500, 1)
