"""Words of specs turned into what the kernel takes: mount options, capabilities, environment, users, sysctls."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from lightship.engine.runtime import capabilities, mount_options, process, scheduling, spec, sysctl, users
from lightship.engine.runtime import constants as k
from lightship.engine.runtime.errors import RuntimeFailure, describe
from lightship.engine.runtime.namespaces import Namespaces


def test_later_mount_options_win() -> None:
    options = mount_options.parse(["ro", "nosuid", "rw", "rbind", "rslave", "private", "size=1k,mode=755", "defaults"])
    assert (options.attr_set, options.attr_clr) == (k.MOUNT_ATTR_NOSUID, k.MOUNT_ATTR_RDONLY)
    assert options.bind and options.recursive_bind and not options.read_only
    assert options.propagation == [(True, k.MS_SLAVE), (False, k.MS_PRIVATE)]
    assert list(mount_options.flag_words(options.data)) == [("size", "1k"), ("mode", "755")]


def test_access_times_are_an_enumeration() -> None:
    options = mount_options.parse(["noatime", "strictatime"])
    assert (options.attr_set, options.attr_clr) == (k.MOUNT_ATTR_STRICTATIME, k.MOUNT_ATTR__ATIME)
    options = mount_options.parse(["relatime"])
    assert (options.attr_set, options.attr_clr) == (0, k.MOUNT_ATTR__ATIME)


def test_recursive_attributes_are_kept_apart() -> None:
    options = mount_options.parse(["rro", "rnosuid", "rsuid"])
    assert options.attr_set == options.attr_clr == 0
    assert (options.recursive_set, options.recursive_clr) == (k.MOUNT_ATTR_RDONLY, k.MOUNT_ATTR_NOSUID)


def test_capability_masks() -> None:
    assert capabilities.mask(["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE", "CAP_OF_THE_FUTURE"]) == 1 | 1 << 40
    assert set(capabilities.available()) <= set(capabilities.NAMES)


def test_environment_keeps_the_last_and_adds_home() -> None:
    assert process.prepare_environment(["A=1", "B=2", "A=3=x", "HOME="], "/h") == ["B=2", "A=3=x", "HOME=/h"]
    assert process.prepare_environment(["HOME=/x"], "/h") == ["HOME=/x"]
    for bad in ("novalue", "=x", "A=\0"):
        with pytest.raises(RuntimeFailure, match="invalid environment variable"):
            process.prepare_environment([bad], "/")


def test_programs_are_found_on_the_containers_path(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("")
    with pytest.raises(RuntimeFailure, match=r'exec: "program": executable file not found in \$PATH'):
        process.find_executable("program", [f"PATH={tmp_path}"])
    program.chmod(0o755)
    assert process.find_executable("program", ["PATH=/nowhere", f"PATH=/no:{tmp_path}"]) == str(program)
    with pytest.raises(RuntimeFailure, match=r"not found in \$PATH"):
        process.find_executable("program", [])


@pytest.fixture
def root_fd(tmp_path: Path) -> Any:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/passwd").write_text(
        "# x\nroot:x:0:0::/root:\nbad:x:y:z::\n\n7:x:70:7::/seven:\nbob:x:5:6:B:/home/bob:/bin/sh\n"
    )
    (tmp_path / "etc/group").write_text("root:x:0:\nwheel:x:10:bob,eve\nadm:x:4:bob\n")
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.mark.parametrize(
    ("name", "extra", "expected"),
    [
        ("bob", (), (5, 6, [6, 10, 4], "/home/bob")),
        ("5:wheel", (), (5, 10, [10], "/home/bob")),
        ("", (), (0, 0, [0], "/root")),
        ("99", ("adm", "77", "adm"), (99, 0, [0, 4, 77], "/")),
        ("7", (), (7, 0, [0], "/")),  # digits are an id, even where a user is called so
        (":wheel", (), (0, 10, [10], "/root")),
    ],
)
def test_users(root_fd: int, name: str, extra: tuple[str, ...], expected: tuple[Any, ...]) -> None:
    user = users.lookup_user(root_fd, name, extra)
    assert (user.uid, user.gid, user.additional_gids, user.home) == expected


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("eve", "unable to find user eve: no matching entries in passwd file"),
        ("root;0", "unable to find user root;0: no matching entries in passwd file"),
        ("bob:nobody", "unable to find group nobody: no matching entries in group file"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_unknown_users(root_fd: int, name: str, text: str) -> None:
    with pytest.raises(RuntimeFailure) as raised:
        users.lookup_user(root_fd, name)
    assert raised.value.message == text


def test_passwd_links_stay_inside(tmp_path: Path, root_fd: int) -> None:
    (tmp_path / "etc/passwd").unlink()
    (tmp_path / "etc/passwd").symlink_to("/etc/../../../../../etc/real")
    (tmp_path / "etc/real").write_text("inside:x:1:2::/:\n")
    assert users.lookup_user(root_fd, "inside").uid == 1


def test_sysctl_names() -> None:
    assert sysctl.path_of("net.ipv4.ip_forward") == "net/ipv4/ip_forward"
    assert sysctl.path_of("net/ipv4/conf/eth0.1/forwarding") == "net/ipv4/conf/eth0.1/forwarding"
    assert sysctl.path_of("net.ipv4.conf.eth0/1.forwarding") == "net/ipv4/conf/eth0.1/forwarding"


def test_number_sets() -> None:
    assert scheduling.number_set("0-2,7") == {0, 1, 2, 7}
    with pytest.raises(RuntimeFailure):
        scheduling.number_set("a-b")


def minimal() -> dict[str, Any]:
    return {
        "process": {"args": ["x"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "uts"}]},
    }


@pytest.mark.parametrize(
    ("change", "kind", "text"),
    [
        ({"process": None}, "invalid_argument", "process property must not be empty"),
        ({"process": {"args": [], "cwd": "/"}}, "invalid_argument", "args must not be empty"),
        ({"process": {"args": ["x"], "cwd": "x"}}, "invalid_argument", "Cwd must be an absolute path"),
        ({"root": {}}, "invalid_argument", "root must be specified"),
        ({"linux": {}, "hostname": "h"}, "invalid_argument", "unable to set hostname without a private UTS namespace"),
        ({"mounts": [{"source": "x"}]}, "invalid_argument", "no destination"),
        (
            {"mounts": [{"destination": "/x", "options": ["idmap"], "type": "tmpfs"}]},
            "invalid_argument",
            "id-mapped mounts are only supported for bind-mounts",
        ),
        (
            {"mounts": [{"destination": "/x", "options": ["bind", "idmap"]}]},
            "invalid_argument",
            "must have both uid and gid mappings",
        ),
        ({"linux": {"intelRdt": {"x": 1}}}, "not_implemented", "linux.intelRdt is not implemented"),
        ({"linux": {"namespaces": [{"type": "user"}]}}, "invalid_argument", "user namespace mappings"),
    ],
)
def test_specs_that_cannot_work(change: dict[str, Any], kind: str, text: str) -> None:
    wrong = {**minimal(), **change}
    with pytest.raises(RuntimeFailure) as raised:
        spec.check(wrong, Namespaces(wrong))
    assert raised.value.kind == kind
    assert text in raised.value.message


@pytest.mark.parametrize("id", ["", "..", "a/b", "a b", "ü"])
def test_ids_become_paths_and_are_checked(id: str) -> None:
    with pytest.raises(RuntimeFailure):
        spec.check_id(id)


def test_namespaces_of_a_spec() -> None:
    assert Namespaces(minimal()).new == k.CLONE_NEWNS | k.CLONE_NEWUTS
    for entries in ([{"type": "x"}], [{"type": "pid"}, {"type": "pid"}], [{"type": "pid", "path": "/no/such"}]):
        with pytest.raises(RuntimeFailure):
            Namespaces({"linux": {"namespaces": entries}})


def test_failed_calls_are_worded_as_go_does() -> None:
    assert describe(FileNotFoundError(2, "No such file or directory", "/x")) == "open /x: no such file or directory"
    assert describe(OSError(1, "mount: Operation not permitted", "/x")) == "mount /x: operation not permitted"
