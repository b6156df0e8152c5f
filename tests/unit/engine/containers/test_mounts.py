from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from lightship.engine.containers import mounts, propagation
from lightship.engine.containers.image_mounts import ImageMounts
from lightship.engine.containers.mounts import ResolvedMount
from lightship.engine.errors import InvalidArgument, NotFound
from lightship.engine.events import Events
from lightship.engine.filters import Filters
from lightship.engine.store import Store
from lightship.engine.volumes.volumes import Volumes
from lightship.openapi.types.config import Config
from lightship.openapi.types.hostconfig import HostConfig
from lightship.openapi.types.mounts import MountPoint
from lightship.openapi.types.volumes import VolumeCreateRequest

ROOT = "/var/lib/engine"
NO_SNAPSHOTS = cast(Any, None)


@pytest.fixture
def volumes(tmp_path: Path) -> Volumes:
    service = Volumes(Store(tmp_path / "db"), Events(), tmp_path / "volumes")
    service.load()
    return service


def resolve(
    volumes: Volumes,
    fields: dict[str, Any],
    *,
    image_volumes: Sequence[str] = (),
    others: Mapping[str, Sequence[ResolvedMount]] | None = None,
    container_id: str = "c1",
) -> list[ResolvedMount]:
    def mounts_of(ref: str) -> Sequence[ResolvedMount]:
        if others is None or ref not in others:
            raise NotFound(f"No such container: {ref}")
        return others[ref]

    return asyncio.run(
        mounts.resolve(
            Config(volumes={path: {} for path in image_volumes}),
            msgspec.json.decode(json.dumps(fields), type=HostConfig),
            container_id=container_id,
            volumes=volumes,
            mounts_of=mounts_of,
            images=ImageMounts(cast(Any, None), cast(Any, None), container_id),
            data_root=ROOT,
        )
    )


def points(resolved: Sequence[ResolvedMount]) -> dict[str, MountPoint]:
    return {mount.destination: mount.point() for mount in resolved}


def names(volumes: Volumes) -> set[str]:
    listed, _ = asyncio.run(volumes.list(Filters()))
    return {volume.name for volume in listed}


def users(volumes: Volumes, name: str) -> int:
    counts = {volume.name: volume.usage_data for volume in asyncio.run(volumes.usage())}
    usage = counts[name]
    return usage.ref_count if usage else -1


def test_reported_as_dockerd_reports_them(volumes: Volumes, tmp_path: Path) -> None:
    found = points(
        resolve(
            volumes,
            {
                "Binds": ["/tmp:/a:z", "/tmp:/b:ro,shared", "named:/c:nocopy", "named:/d", "/:/host"],
                "Mounts": [{"Type": "tmpfs", "Target": "/t", "ReadOnly": True}],
            },
        )
    )
    data = str(tmp_path / "volumes/named/_data")
    assert found["/a"] == MountPoint(
        type="bind", source="/tmp", destination="/a", mode="z", rw=True, propagation="rprivate"
    )
    assert found["/b"] == MountPoint(
        type="bind", source="/tmp", destination="/b", mode="ro,shared", rw=False, propagation="shared"
    )
    assert found["/c"] == MountPoint(
        type="volume", name="named", source=data, destination="/c", driver="local", mode="nocopy", rw=True
    )
    assert found["/d"].mode == "z"
    assert found["/host"].propagation == "rslave", "it holds the engine's own directory"
    assert found["/t"] == MountPoint(type="tmpfs", source="", destination="/t", mode="", rw=False)


def test_anonymous_volumes_come_and_go_with_the_container(volumes: Volumes) -> None:
    resolved = resolve(
        volumes, {"Binds": ["/explicit"], "Mounts": [{"Type": "volume", "Target": "/m"}]}, image_volumes=["/i/"]
    )
    assert [mount.destination for mount in resolved] == ["/explicit", "/i", "/m"]
    assert all(mount.anonymous and mount.copy_up and len(mount.name) == 64 for mount in resolved)
    asyncio.run(mounts.release(resolved, volumes=volumes, container_id="c1", remove_anonymous=False))
    assert names(volumes) == {mount.name for mount in resolved}
    asyncio.run(mounts.release(resolved, volumes=volumes, container_id="c1", remove_anonymous=True))
    assert names(volumes) == set()


def test_image_volume_gives_way_to_any_other_mount(volumes: Volumes) -> None:
    fields = {"Binds": ["/tmp:/a"], "Tmpfs": {"/b": ""}}
    assert [mount.type for mount in resolve(volumes, fields, image_volumes=["/a", "/b"])] == ["bind"]


def test_named_volume_is_made_held_and_kept(volumes: Volumes) -> None:
    resolved = resolve(volumes, {"Binds": ["named:/a"]})
    assert users(volumes, "named") == 1
    asyncio.run(mounts.release(resolved, volumes=volumes, container_id="c1", remove_anonymous=True))
    assert names(volumes) == {"named"} and users(volumes, "named") == 0


def test_options_and_labels_reach_the_volume(volumes: Volumes) -> None:
    options = {"type": "tmpfs", "device": "tmpfs", "o": "size=1m,uid=5"}
    config = {"Name": "local", "Options": options}
    resolved = resolve(
        volumes,
        {
            "Mounts": [
                {
                    "Type": "volume",
                    "Source": "with-options",
                    "Target": "/a",
                    "VolumeOptions": {"DriverConfig": config, "Labels": {"k": "v"}, "NoCopy": True},
                }
            ]
        },
    )
    assert (resolved[0].filesystem, resolved[0].device, resolved[0].options) == ("tmpfs", "tmpfs", ("size=1m", "uid=5"))
    assert not resolved[0].copy_up
    volume = asyncio.run(volumes.inspect("with-options"))
    assert (volume.options, volume.labels) == (options, {"k": "v"})


def test_volumes_from_another_container(volumes: Volumes) -> None:
    donor = resolve(
        volumes, {"Binds": ["named:/a", "/tmp:/b", "/tmp:/c:ro"]}, image_volumes=["/i"], container_id="donor"
    )
    found = resolve(volumes, {"VolumesFrom": ["donor:ro"], "Binds": ["/srv:/b"]}, others={"donor": donor})
    shown = points(found)
    assert {path: (point.source, point.rw) for path, point in shown.items() if point.type == "bind"} == {
        "/b": ("/srv", True),
        "/c": ("/tmp", False),
    }
    assert shown["/a"].name == "named" and not shown["/a"].rw
    assert users(volumes, "named") == 2
    asyncio.run(mounts.release(donor, volumes=volumes, container_id="donor", remove_anonymous=True))
    assert shown["/i"].name in names(volumes), "c1 still uses it"


def test_unknown_donor_is_the_clients_mistake(volumes: Volumes) -> None:
    with pytest.raises(InvalidArgument, match="^No such container: nope$"):
        resolve(volumes, {"VolumesFrom": ["nope"]})


def test_nothing_stays_of_a_create_that_failed(volumes: Volumes) -> None:
    asyncio.run(volumes.create(VolumeCreateRequest(name="before")))
    bad = {"Type": "volume", "Source": "!bad", "Target": "/b"}
    with pytest.raises(InvalidArgument, match="create !bad: "):
        resolve(volumes, {"Binds": ["before:/x"], "Mounts": [{"Type": "volume", "Target": "/a"}, bad]})
    assert names(volumes) == {"before"}
    assert users(volumes, "before") == 0


def test_outer_mounts_come_first(volumes: Volumes) -> None:
    fields = {"Binds": ["/tmp:/a/b/c", "/tmp:/z", "/tmp:/a/b", "/tmp:/a"]}
    assert [mount.destination for mount in resolve(volumes, fields)] == ["/a", "/z", "/a/b", "/a/b/c"]


def test_only_v_makes_a_missing_directory(volumes: Volumes, tmp_path: Path) -> None:
    """P61"""
    here = tmp_path / "made/by/start"
    resolved = resolve(volumes, {"Binds": [f"{here}:/a"]})
    assert not here.exists(), "not before the start"
    mounts.prepare(resolved, snapshots=NO_SNAPSHOTS)
    assert here.is_dir() and here.stat().st_mode & 0o777 == 0o755
    file = tmp_path / "file"
    file.write_text("kept")
    mounts.prepare(resolve(volumes, {"Binds": [f"{file}:/a"]}), snapshots=NO_SNAPSHOTS)
    assert file.read_text() == "kept"


def test_missing_subpath_is_told_at_the_start(volumes: Volumes) -> None:
    options = {"Subpath": "not/there"}
    mount = {"Type": "volume", "Source": "named", "Target": "/a", "VolumeOptions": options}
    resolved = resolve(volumes, {"Mounts": [mount]})
    with pytest.raises(NotFound, match=r"cannot access path .*/_data/not/there: lstat .*: no such file or directory"):
        mounts.prepare(resolved, snapshots=NO_SNAPSHOTS)


@pytest.mark.parametrize("option", ["ReadOnlyNonRecursive", "ReadOnlyForceRecursive"])
def test_read_only_options_of_a_writable_mount(volumes: Volumes, option: str) -> None:
    mount = {"Type": "bind", "Source": "/tmp", "Target": "/a", "BindOptions": {option: True}}
    resolved = resolve(volumes, {"Mounts": [mount]})
    with pytest.raises(InvalidArgument, match=f"^mount options conflict: !ReadOnly && BindOptions.{option}$"):
        mounts.prepare(resolved, snapshots=NO_SNAPSHOTS)


def test_propagation_needs_a_shared_source(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve(volumes, {"Binds": ["/tmp:/a:rshared"]})
    monkeypatch.setattr(propagation, "mount_of", lambda path: ("/", set()))
    with pytest.raises(InvalidArgument, match="^path /tmp is mounted on / but it is not a shared mount$"):
        mounts.prepare(resolved, snapshots=NO_SNAPSHOTS)
    monkeypatch.setattr(propagation, "mount_of", lambda path: ("/", {"shared"}))
    assert mounts.prepare(resolved, snapshots=NO_SNAPSHOTS) == resolved


def test_default_propagation_falls_back_to_private(volumes: Volumes, monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve(volumes, {"Binds": ["/:/host"]})
    monkeypatch.setattr(propagation, "mount_of", lambda path: ("/", set()))
    assert mounts.prepare(resolved, snapshots=NO_SNAPSHOTS)[0].propagation == "rprivate"


@pytest.mark.parametrize(
    ("source", "chosen"),
    [(ROOT, "rslave"), (f"{ROOT}/volumes", "rslave"), ("/var", "rslave"), (f"{ROOT}2", "rprivate"), ("/v", "rprivate")],
)
def test_default_propagation(source: str, chosen: str) -> None:
    assert propagation.choose(source, "", data_root=ROOT) == chosen


def test_engines_directory_cannot_be_bound_privately(volumes: Volumes) -> None:
    with pytest.raises(InvalidArgument, match='must use either propagation mode "rslave" or "rshared"'):
        resolve(volumes, {"Binds": ["/:/host:private"]})


def test_record_survives_the_database(volumes: Volumes) -> None:
    resolved = resolve(volumes, {"Binds": ["named:/a:ro", "/tmp:/b"]}, image_volumes=["/i"])
    assert msgspec.json.decode(msgspec.json.encode(resolved), type=list[ResolvedMount]) == resolved
