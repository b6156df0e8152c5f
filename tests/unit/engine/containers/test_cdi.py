"""CDI: vendors' files become edits of the OCI spec."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from lightship.engine.containers import cdi
from lightship.engine.errors import Internal

VENDOR = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/device",
    "containerEdits": {"env": ["COMMON=1"]},
    "devices": [
        {
            "name": "first",
            "containerEdits": {
                "env": ["FIRST=yes", "PATH=/new"],
                "deviceNodes": [{"path": "/dev/first", "hostPath": "/dev/null", "permissions": "r"}],
                "mounts": [{"hostPath": "/lib/vendor", "containerPath": "/vendor", "options": ["ro", "bind"]}],
                "hooks": [{"hookName": "createContainer", "path": "/bin/hook", "args": ["hook", "1"]}],
                "additionalGids": [0, 44],
            },
        },
        {"name": "second", "containerEdits": {"env": ["SECOND=yes"]}},
    ],
}


@pytest.fixture
def spec() -> dict[str, Any]:
    return {
        "process": {"env": ["PATH=/old"], "user": {"uid": 0, "gid": 0}},
        "mounts": [{"destination": "/proc/x/y", "source": "a"}, {"destination": "/vendor", "source": "old"}],
        "linux": {"resources": {"devices": []}},
    }


@pytest.fixture
def directory(tmp_path: Path) -> str:
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "broken.yaml").write_text("a: [")
    (tmp_path / "text.yml").write_text("just a text")
    (tmp_path / "vendor.yaml").write_text("---\n# as vendors' tools write it\n" + yaml.safe_dump(VENDOR))
    return str(tmp_path)


def test_edits(spec: dict[str, Any], directory: str) -> None:
    cdi.inject(spec, ["vendor.com/device=first", "vendor.com/device=second"], [directory, "/nonexistent"])
    assert spec["process"]["env"] == ["COMMON=1", "FIRST=yes", "PATH=/new", "SECOND=yes"]
    (node,) = spec["linux"]["devices"]
    assert (node["path"], node["type"], node["major"], node["minor"]) == ("/dev/first", "c", 1, 3)
    rule = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "r"}
    assert spec["linux"]["resources"]["devices"] == [rule]
    assert [mount["source"] for mount in spec["mounts"]] == ["/lib/vendor", "a"]
    assert spec["hooks"] == {"createContainer": [{"path": "/bin/hook", "args": ["hook", "1"]}]}
    assert spec["process"]["user"]["additionalGroups"] == ["44"]


def test_what_nobody_describes(spec: dict[str, Any], directory: str) -> None:
    names = ["a.com/b=c", "vendor.com/device=first", "vendor.com/device=third"]
    with pytest.raises(Internal) as raised:
        cdi.inject(spec, names, [directory])
    text = "CDI device injection failed: unresolvable CDI devices a.com/b=c, vendor.com/device=third"
    assert str(raised.value) == text


def test_a_later_directory_wins(spec: dict[str, Any], directory: str, tmp_path: Path) -> None:
    later = tmp_path / "later"
    later.mkdir()
    document = VENDOR | {"containerEdits": {}, "devices": [{"name": "first", "containerEdits": {"env": ["LATER=1"]}}]}
    (later / "vendor.json").write_text(json.dumps(document))
    cdi.inject(spec, ["vendor.com/device=first"], [directory, str(later)])
    assert spec["process"]["env"] == ["PATH=/old", "LATER=1"]
