"""What `POST /build` asks for, as the frontend reads it."""

from __future__ import annotations

import pytest
from lightship.engine.build.classic.options import ClassicOptions
from lightship.engine.build.dockerfile.options import read_options
from lightship.engine.build.graph import Limits, Ulimit
from lightship.engine.errors import Internal


def test_parameters_survive_the_frontends_options() -> None:
    limits = Limits(
        memory_bytes=1, memory_swap_bytes=-1, cpu_shares=3, cpu_period=4, cpu_quota=5, cpuset_cpus="0-1",
        cpuset_mems="0", shm_size_bytes=6, ulimits=(Ulimit("nofile", 7, 8), Ulimit("core", -1, -1)), cgroup_parent="/p",
    )  # fmt: skip
    options = ClassicOptions(
        build_args={"A": "b,c", "NONE": None}, labels={"l": "m"}, target="t", platform="linux/arm64", network="mine",
        extra_hosts=("h:1.2.3.4", "six:::1", "gate:host-gateway"), limits=limits, is_cacheless=True,
        remote="client-session",
    )  # fmt: skip
    asked = options.for_frontend()
    read = read_options(asked)
    assert (read.build_args, read.labels, read.target) == ({"A": "b,c"}, {"l": "m"}, "t")
    assert ([str(platform) for platform in read.platforms], read.network) == (["linux/arm64"], "mine")
    assert read.extra_hosts == (("h", "1.2.3.4"), ("six", "::1"), ("gate", "host-gateway"))
    assert read.limits == limits
    assert read.is_cacheless("any")
    assert "context" not in asked


def test_names_are_whole_and_there_once() -> None:
    names = ClassicOptions(tags=("a", "a:latest", "r.io/b:1")).references()
    assert [str(name) for name in names] == ["docker.io/library/a:latest", "r.io/b:1"]


@pytest.mark.parametrize(
    ("tag", "message"),
    [
        ("UP", "invalid reference format: repository name (library/UP) must be lowercase"),
        (f"a@sha256:{'0' * 64}", "build tag cannot contain a digest"),
    ],
)
def test_names_refused(tag: str, message: str) -> None:
    with pytest.raises(Internal) as error:
        ClassicOptions(tags=(tag,)).references()
    assert str(error.value) == message
