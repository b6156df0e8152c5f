"""userns-remap: whose ranges are meant, and what is said where there are none."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

import pytest
from lightship.engine import errors, idmap
from lightship.engine.idmap import IdRange
from lightship.engine.snapshots.ids import Ids

USER = pwd.getpwuid(1).pw_name
GROUP = grp.getgrgid(pwd.getpwuid(1).pw_gid).gr_name


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "subuid").write_text(f"# ranges\nother:1:2\n{USER}:100000:1000\n1:200000:500\n")
    (tmp_path / "subgid").write_text(f"{USER}:300000:65536\n")
    monkeypatch.setattr(idmap, "_SUBUID", tmp_path / "subuid")
    monkeypatch.setattr(idmap, "_SUBGID", tmp_path / "subgid")
    return tmp_path


@pytest.mark.parametrize("setting", [USER, f"{USER}:{GROUP}", "1", f"1:{os.stat('/').st_gid}"])
def test_ranges_of_a_user_follow_each_other(setting: str) -> None:
    found = idmap.read(setting)
    assert found is not None
    assert found.uids == (IdRange(0, 100000, 1000), IdRange(1000, 200000, 500))
    assert (found.root_uid, found.root_gid) == (100000, 300000)
    assert found.to_oci()["gidMappings"] == [{"containerID": 0, "hostID": 300000, "size": 65536}]


@pytest.mark.parametrize("setting", ["", "root", "0:0"])
def test_nothing_is_mapped(setting: str) -> None:
    assert idmap.read(setting) is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("a:b:c", 'Invalid user/group specification in --userns-remap: "a:b:c"'),
        ("no-such", 'Error during uid lookup for "no-such": no matching entries in passwd file'),
        (f"{USER}:no-such", 'Error during groupname lookup for "no-such": no matching entries in group file'),
        ("123456789", "Uid 123456789 has no entry in /etc/passwd: no matching entries in passwd file"),
        ("1:123456789", "Gid 123456789 has no entry in /etc/passwd: no matching entries in group file"),
    ],
)
def test_bad_settings(setting: str, message: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        idmap.read(setting)
    assert str(caught.value) == message


def test_a_user_without_ranges(files: Path) -> None:
    (files / "subgid").write_text("")
    with pytest.raises(errors.InvalidArgument, match=f'no subgid ranges found for user "{USER}"'):
        idmap.read(USER)


def test_a_line_that_is_none(files: Path) -> None:
    (files / "subuid").write_text("what\n")
    with pytest.raises(errors.InvalidArgument, match="cannot parse subuid/gid information: what"):
        idmap.read(USER)


def test_ids_of_files() -> None:
    ids = Ids([(0, 1000, 10), (10, 5000, 5)], [(0, 2000, 10)])
    assert ids.outside(12, 3) == (5002, 2003)
    assert ids.inside(5002, 2003) == (12, 3)
    assert ids.inside(0, 1) == (65534, 65534)
    with pytest.raises(OverflowError, match="container ID 15 cannot be mapped to a host ID"):
        ids.outside(15, 0)
