"""Mounts: options, destinations that fight back, and roots of many layers."""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from lightship.engine.runtime import linux
from lightship.engine.runtime.cgroups import cgroup as cgroups
from lightship.engine.runtime.constants import MNT_DETACH, MS_BIND, MS_PRIVATE
from lightship.engine.runtime.errors import RuntimeFailure

if TYPE_CHECKING:
    from .conftest import Bundle


def with_mounts(bundle: Bundle, script: str, *mounts: dict[str, Any]) -> dict[str, Any]:
    spec = bundle.spec("sh", "-c", script)
    spec["mounts"].extend(mounts)
    return spec


def bind(source: Path | str, destination: str, *options: str) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "destination": destination, "options": ["rbind", *options]}


def test_bind_of_directory_and_file(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data/file").write_text("host\n")
    spec = with_mounts(
        bundle,
        "cat /mnt/a/file /etc/one/file; echo more >> /mnt/a/file; echo no > /etc/one/file",
        bind(tmp_path / "data", "/mnt/a", "rprivate"),
        bind(tmp_path / "data/file", "/etc/one/file", "ro"),
    )
    result = bundle.run(spec)
    assert result.output.startswith("host\nhost\n")
    assert "Read-only file system" in result.output
    assert (tmp_path / "data/file").read_text() == "host\nmore\n"


def test_read_only_and_recursively_so(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "data/inner").mkdir(parents=True)
    (tmp_path / "other").mkdir()
    linux.mount(str(tmp_path / "other"), str(tmp_path / "data/inner"), "", MS_BIND)
    linux.mount("", str(tmp_path / "data/inner"), "", MS_PRIVATE)
    try:
        script = "touch /mnt/x; touch /mnt/inner/x && echo inner"
        plain = bundle.run(with_mounts(bundle, script, bind(tmp_path / "data", "/mnt", "ro"))).output
        recursive = bundle.run(with_mounts(bundle, script, bind(tmp_path / "data", "/mnt", "rro"))).output
    finally:
        linux.umount2(str(tmp_path / "data/inner"), MNT_DETACH)
    assert plain.count("Read-only") == 1 and "inner" in plain.splitlines()[-1]
    assert recursive.count("Read-only") == 2


def test_file_over_directory_is_refused_in_docker_words(bundle: Bundle) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(with_mounts(bundle, "true", bind("/etc/hostname", "/etc")))
    assert raised.value.message.startswith(
        "unable to start container process: error during container init: "
        'error mounting "/etc/hostname" to rootfs at "/etc": '
    )
    assert "not a directory: Are you trying to mount a directory onto a file (or vice-versa)?" in raised.value.message


def test_missing_source(bundle: Bundle) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(with_mounts(bundle, "true", bind("/no/such", "/mnt")))
    assert 'error mounting "/no/such" to rootfs at "/mnt"' in raised.value.message
    assert raised.value.message.endswith("no such file or directory")


@pytest.mark.parametrize("destination", ["/proc", "/proc/version", "/proc/self/exe", "/proc/sys/kernel/core_pattern"])
def test_nothing_is_mounted_over_proc(bundle: Bundle, destination: str, tmp_path: Path) -> None:
    source = tmp_path if destination == "/proc" else Path("/etc/hostname")
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(with_mounts(bundle, "true", bind(source, destination)))
    # A magic link is not even resolved.
    wanted = "too many levels of symbolic links" if "self" in destination else "cannot be mounted because it is"
    assert wanted in raised.value.message


def test_proc_must_be_a_real_directory(bundle: Bundle) -> None:
    (bundle.root / "elsewhere").mkdir()
    (bundle.root / "proc").symlink_to("/elsewhere")
    with pytest.raises(RuntimeFailure) as raised:
        bundle.create(bundle.spec("true"))
    assert raised.value.message.endswith('filesystem "proc" must be mounted on ordinary directory')


@pytest.mark.parametrize("link", ["/", "/etc", "../../../../../..", "/proc/self/cwd"])
def test_links_in_destinations_stay_inside_the_root(bundle: Bundle, link: str, tmp_path: Path) -> None:
    """The image's own links must not carry a mount, nor the directories made for it, to the host (CVE-2021-30465)."""
    (bundle.root / "trap").symlink_to(link)
    (tmp_path / "data").mkdir()
    before = set(os.listdir("/")), set(os.listdir("/etc"))
    spec = with_mounts(bundle, "true", bind(tmp_path / "data", "/trap/made-by-lightship"))
    try:
        bundle.run(spec)
    except RuntimeFailure as error:
        assert "/proc" in link, error.message
    assert (set(os.listdir("/")), set(os.listdir("/etc"))) == before


def test_tmpfs_options(bundle: Bundle) -> None:
    (bundle.root / "keep").mkdir(mode=0o711)
    (bundle.root / "keep").chmod(0o711)
    (bundle.root / "full/deep").mkdir(parents=True)
    (bundle.root / "full/deep/file").write_text("copied\n")
    tmpfs = {"type": "tmpfs", "source": "tmpfs"}
    spec = with_mounts(
        bundle,
        "stat -c %a /keep /set; grep ' /set ' /proc/mounts; cat /full/deep/file; touch /set/x",
        {**tmpfs, "destination": "/keep", "options": ["nosuid"]},
        {**tmpfs, "destination": "/set", "options": ["mode=1750", "size=64k", "noexec", "ro"]},
        {**tmpfs, "destination": "/full", "options": ["tmpcopyup"]},
    )
    lines = bundle.run(spec).output.splitlines()
    assert lines[:2] == ["711", "1750"]
    assert lines[2].startswith("tmpfs /set tmpfs ro,noexec,relatime,size=64k,mode=1750")
    assert lines[3] == "copied"
    assert lines[4].endswith("Read-only file system")


def test_shared_and_slave_binds(bundle: Bundle, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    linux.mount(str(data), str(data), "", MS_BIND)
    linux.mount("", str(data), "", 0x100000)  # MS_SHARED
    try:
        spec = with_mounts(bundle, "grep ' /mnt ' /proc/self/mountinfo", bind(data, "/mnt", "rslave"))
        assert "master:" in bundle.run(spec).output
        spec = with_mounts(bundle, "grep ' /mnt ' /proc/self/mountinfo", bind(data, "/mnt", "rshared"))
        spec["linux"]["rootfsPropagation"] = "shared"
        assert "shared:" in bundle.run(spec).output
        spec = with_mounts(bundle, "grep ' /mnt ' /proc/self/mountinfo", bind(data, "/mnt", "rprivate"))
        fields = bundle.run(spec).output.split(" - ")[0]
        assert "shared:" not in fields and "master:" not in fields
    finally:
        linux.umount2(str(data), MNT_DETACH)


def test_cgroup_mount_shows_the_containers_own(bundle: Bundle) -> None:
    mount = {"type": "cgroup", "source": "cgroup", "destination": "/sys/fs/cgroup", "options": ["ro", "nosuid"]}
    spec = with_mounts(
        bundle, "grep ' - cgroup' /proc/self/mountinfo; for d in /sys/fs/cgroup/*; do touch $d/x; done", mount
    )
    lines = bundle.run(spec).output.splitlines()
    mounts = [line for line in lines if " - cgroup" in line]
    root = bundle.cgroup_path if cgroups.hierarchies().v1 else "/"  # v2 shows the host's whole tree, as runc does
    assert mounts and all(line.split()[3] == root and " ro," in line for line in mounts)
    assert len([line for line in lines if "Read-only file system" in line]) >= len(mounts)
    spec["linux"]["namespaces"].append({"type": "cgroup"})
    lines = bundle.run(spec).output.splitlines()
    mounts = [line for line in lines if " - cgroup" in line]
    assert mounts and all(line.split()[3] == "/" for line in mounts)


def test_the_hosts_cgroup_tree_keeps_its_options(bundle: Bundle) -> None:
    """A new mount of cgroup2 in the host's cgroup namespace would set those of the machine."""
    before = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    mount = {"type": "cgroup", "source": "cgroup", "destination": "/sys/fs/cgroup", "options": ["rw"]}
    assert bundle.run(with_mounts(bundle, "true", mount)).code == 0
    after = [line for line in Path("/proc/self/mountinfo").read_text().splitlines() if " - cgroup2 " in line]
    assert after == before


def test_id_mapped_binds_with_few_descriptors(bundle: Bundle, tmp_path: Path) -> None:
    """1024 is what shells and services give who does not ask for more."""
    shift = [{"containerID": 0, "hostID": 5000, "size": 10}]
    mount = bind(tmp_path, "/mapped") | {"uidMappings": shift, "gidMappings": shift}
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, limits[1]))
    try:
        assert bundle.run(with_mounts(bundle, "stat -c %u /mapped", mount)).output == "5000\n"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_overlay_of_128_layers_leaves_no_mount_behind(bundle: Bundle, tmp_path: Path) -> None:
    layers = []
    for number in range(127):
        layer = tmp_path / "layers" / f"{number:03}-{'long-' * 3}"  # before Linux 6.8 all paths have to fit a page
        layer.mkdir(parents=True)
        (layer / f"file{number}").write_text("")
        layers.append(str(layer))
    base = tmp_path / "base"
    (bundle.root).rename(base)
    bundle.root.mkdir()
    for name in ("upper", "work"):
        (tmp_path / name).mkdir()
    entry = {
        "type": "overlay",
        "lower": [*layers, str(base)],
        "upper": str(tmp_path / "upper"),
        "work": str(tmp_path / "work"),
        "options": ["index=off"],
    }
    spec = bundle.spec("sh", "-c", "ls -d /file* | wc -l; echo x > /written")
    assert bundle.run(spec, rootfs=[entry]).output == "127\n"
    assert (tmp_path / "upper/written").read_text() == "x\n"
    assert os.listdir(bundle.root) == []


def test_id_mapped_binds_show_other_owners(bundle: Bundle, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").touch()
    os.chown(source / "file", 1, 2)
    spec = bundle.spec("sh", "-c", "stat -c %u:%g /mapped/file /plain/file; touch /mapped/new")
    shift = [{"containerID": 0, "hostID": 5000, "size": 10}]
    plain = {"destination": "/plain", "type": "bind", "source": str(source), "options": ["bind"]}
    spec["mounts"] += [{**plain, "destination": "/mapped", "uidMappings": shift, "gidMappings": shift}, plain]
    found = bundle.run(spec)
    assert found.output.split("\n")[:2] == ["5001:5002", "1:2"]
    assert "touch: /mapped/new: Value too large" in found.output  # root has no place in the mapping
    assert not (source / "new").exists()


def test_an_id_mapped_bind_takes_the_user_namespaces_mapping(bundle: Bundle, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for directory, _, files in os.walk(bundle.root):
        for name in (".", *files):
            os.chown(os.path.join(directory, name), 100000, 100000, follow_symlinks=False)
    for path in (bundle.path, *bundle.path.parents[:2]):
        path.chmod(0o755)
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    spec = bundle.spec("sh", "-c", "stat -c %u:%g /mapped; touch /mapped/new")
    spec["linux"]["namespaces"].append({"type": "user"})
    spec["linux"] |= {"uidMappings": ids, "gidMappings": ids}
    entry = {"destination": "/mapped", "type": "bind", "source": str(source), "options": ["bind", "idmap"]}
    spec["mounts"].append(entry)
    assert bundle.run(spec).output == "0:0\n"
    assert ((source / "new").stat().st_uid, source.stat().st_uid) == (0, 0)
