"""`RUN --device`: CDI devices for a command, as far as the client or the device's own file allows them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness.docker import Docker
from harness.engine import ON_DOCKERD, Engine

pytestmark = pytest.mark.skipif(ON_DOCKERD, reason="dockerd 28 has devices for builds with another frontend alone")
SPECS = """\
cdiVersion: 0.6.0
kind: vendor.com/device
devices:
  - name: one
    containerEdits:
      env: [ONE=yes]
      deviceNodes: [{path: /dev/vendor1, hostPath: /dev/zero}]
  - name: two
    containerEdits: {env: [TWO=yes]}
  - name: free
    annotations: {org.mobyproject.buildkit.device.autoallow: "true", org.mobyproject.buildkit.device.class: easy}
    containerEdits: {env: [FREE=yes]}
"""


@pytest.fixture
def buildx(private_engine: Callable[..., Engine], tmp_path: Path) -> Docker:
    (tmp_path / "specs").mkdir()
    (tmp_path / "specs" / "vendor.yaml").write_text(SPECS)
    engine = private_engine("--cdi-spec-dir", str(tmp_path / "specs"))
    return engine.docker.with_plugins(tmp_path / "client", "buildx")


def test_devices_of_a_command(buildx: Docker, tmp_path: Path, name: str) -> None:
    def build(device: str, *flags: str) -> tuple[int, str]:
        script = "echo got $ONE$TWO$FREE.; test -z $ONE || head -c 3 /dev/vendor1 | wc -c"
        (tmp_path / "Dockerfile").write_text(f"FROM busybox\nRUN --device={device} {script}\nRUN env\n")
        result = buildx("build", "--progress=plain", "--no-cache", *flags, str(tmp_path))
        return result.code, result.err

    one = "vendor.com/device=one"
    code, told = build(one)
    assert code == 1
    assert f"device {one} is requested by the build but not allowed" in told
    code, told = build("vendor.com/device=*", "--allow", f"device={one}")
    assert "device vendor.com/device=two is requested by the build but not allowed" in told
    for flags in (("--allow", "device"), ("--allow", f"device={one}")):
        code, told = build(one, *flags)
        assert code == 0, told
        assert " got yes.\n" in told
        assert " 3\n" in told
        assert "ONE=" not in told.partition("] RUN env")[2]
    code, told = build("mine", "--allow", f"device={one},alias=mine")
    assert " got yes.\n" in told
    assert " got yesyesyes.\n" in build("vendor.com/device=*", "--allow", "device")[1]
    assert " got yes.\n" in build("easy")[1], "its file allows it"
    assert " got .\n" in build("vendor.com/device=none")[1], "it is not required"
    assert 'required device "vendor.com/device=none" is not registered' in build("vendor.com/device=none,required")[1]
    assert "unexpected key 'requird'" in build("x,requird=true")[1]
    assert 'unknown device config key "other"' in build(one, "--allow", f"device={one},other=x")[1]


def test_devices_that_the_engine_allows_nobody(
    private_engine: Callable[..., Engine], tmp_path: Path, name: str
) -> None:
    (tmp_path / "daemon.json").write_text('{"builder": {"entitlements": {"device": false}}}')
    engine = private_engine("--config-file", f"{tmp_path}/daemon.json")
    buildx = engine.docker.with_plugins(tmp_path / "client", "buildx")
    refused = buildx("build", "--allow", "device", "-", stdin="FROM busybox\n")
    assert "granting entitlement device is not allowed by build daemon configuration" in refused.err
