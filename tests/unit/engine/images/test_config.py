"""Image configs, chain ids, platforms and the progress bar."""

from __future__ import annotations

import hashlib

import pytest
from lightship.engine.errors import InvalidArgument
from lightship.engine.images.config import Platform, chain_ids, decode_config
from lightship.engine.images.progress import layer_progress

A, B = "sha256:" + "a" * 64, "sha256:" + "b" * 64


def test_config_takes_what_docker_wrote_over_the_years() -> None:
    config = decode_config(
        b'{"os":"linux","unknown":1,"created":"2026-11-21T20:50:37.524149321+01:00","config":{"Cmd":"sh","Env":null,'
        b'"Healthcheck":{"Test":["CMD","x"],"Interval":5}},"rootfs":{"type":"layers","diff_ids":null},"history":null}'
    )
    assert config.config is not None
    assert (config.config.cmd, config.config.env, config.diff_ids) == (["sh"], None, [])
    assert config.config.healthcheck is not None and config.config.healthcheck.interval == 5
    assert config.created_ns == 1795290637524149321


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'{"os":"linux"}', "invalid image JSON, no RootFS key"),
        (b'{"os":"windows","rootfs":{}}', "cannot load windows image on linux"),
        (b'{"a":', "invalid image JSON: "),
        (b'{"architecture":5}', "invalid image JSON: "),
        (b'{"rootfs":{"diff_ids":["../x"]}}', "invalid checksum digest format"),
        (b'{"rootfs":{},"created":"yesterday"}', "failed to parse value as time"),
    ],
)
def test_bad_configs_are_refused(data: bytes, message: str) -> None:
    with pytest.raises(InvalidArgument) as error:
        decode_config(data)
    assert str(error.value).startswith(message)


def test_chain_ids() -> None:
    assert list(chain_ids([A, B])) == [A, "sha256:" + hashlib.sha256(f"{A} {B}".encode()).hexdigest()]
    assert list(chain_ids([])) == []


@pytest.mark.parametrize(
    ("text", "platform", "shown"),
    [
        ("linux/amd64", Platform("linux", "amd64"), "linux/amd64"),
        ("linux/x86_64", Platform("linux", "amd64"), "linux/amd64"),
        ("linux/arm64/v8", Platform("linux", "arm64", "v8"), "linux/arm64"),
        ("linux/arm/v7", Platform("linux", "arm", "v7"), "linux/arm/v7"),
    ],
)
def test_platforms(text: str, platform: Platform, shown: str) -> None:
    assert Platform.parse(text) == platform
    assert str(platform) == shown


def test_a_platform_has_three_parts_at_most() -> None:
    with pytest.raises(InvalidArgument, match=r'^"a/b/c/d": cannot parse platform specifier: invalid argument$'):
        Platform.parse("a/b/c/d")


def test_platforms_match_by_variant_where_both_have_one() -> None:
    assert Platform("linux", "arm64").matches(Platform("linux", "arm64", "v8"))
    assert Platform("linux", "arm").matches(Platform("linux", "arm", "v7"))
    assert not Platform("linux", "arm", "v6").matches(Platform("linux", "arm", "v7"))
    assert not Platform("linux", "amd64").matches(Platform("linux", "arm64"))


def test_progress_is_drawn_as_dockerd_draws_it() -> None:
    assert layer_progress("Loading layer", "5f36e23d5ee8", current=10240, total=10240) == {
        "status": "Loading layer",
        "progressDetail": {"current": 10240, "total": 10240},
        "progress": "[==================================================>]  10.24kB/10.24kB",
        "id": "5f36e23d5ee8",
    }
    assert layer_progress("Loading layer", "e3b0c44298fc", current=0, total=0) == {
        "status": "Loading layer", "progressDetail": {}, "id": "e3b0c44298fc",
    }  # fmt: skip
