"""The settings of registries: flags, daemon.json, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from lightship.api.flags import UsageError, usage
from lightship.api.settings import load
from lightship.engine.config import Mirror, RegistryConfig


def loaded(folder: Path, document: object, *flags: str) -> RegistryConfig:
    path = folder / "daemon.json"
    path.write_text(json.dumps(document))
    return load(["--config-file", str(path), *flags]).engine.registry


def test_the_file_and_the_flags_say_the_same(tmp_path):
    document = {
        "registry-mirrors": ["https://mirror.example"], "insecure-registries": ["10.0.0.0/8", "box:5000"],
        "max-concurrent-downloads": 7, "max-concurrent-uploads": 8, "max-download-attempts": 9,
    }  # fmt: skip
    flags = [
        "--registry-mirror", "https://mirror.example", "--insecure-registry", "10.0.0.0/8",
        "--insecure-registry", "box:5000", "--max-concurrent-downloads", "7", "--max-concurrent-uploads=8",
        "--max-download-attempts", "9",
    ]  # fmt: skip
    config = loaded(tmp_path, document)
    assert config == loaded(tmp_path, {}, *flags)
    assert config.mirrors_of("docker.io") == (Mirror("https://mirror.example/", is_of_hub=True),)
    assert config.mirrors_of("ghcr.io") == ()
    assert (config.insecure_networks, config.insecure_hosts) == (("10.0.0.0/8",), ("box:5000",))


def test_proxies(tmp_path):
    document = {"proxies": {"http-proxy": "http://p:1", "https-proxy": "http://p:2", "no-proxy": "a,b"}}
    config = loaded(tmp_path, document)
    assert config.proxies == {"http": "http://p:1", "https": "http://p:2", "no": "a,b"}
    assert config == loaded(tmp_path, {}, "--http-proxy=http://p:1", "--https-proxy=http://p:2", "--no-proxy=a,b")


def test_mirrors_of_any_registry(tmp_path):
    mirror = {"url": "https://cache.example/ghcr/", "username": "u", "password": "s3cret"}
    config = loaded(tmp_path, {"registries": {"ghcr.io": {"mirrors": [mirror]}}})
    assert config.mirrors_of("ghcr.io") == (Mirror("https://cache.example/ghcr", "u", "s3cret"),)
    assert "s3cret" not in repr(config)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"registry-mirrors": ["mirror.example"]}, "invalid mirror: no scheme specified"),
        ({"registry-mirrors": ["ftp://m"]}, 'invalid mirror: unsupported scheme "ftp"'),
        ({"registry-mirrors": ["https://m?a=b"]}, "invalid mirror: query or fragment at end of the URI"),
        ({"registry-mirrors": ["https://u:s3cret@m"]}, "invalid mirror: username/password not allowed in URI"),
        ({"insecure-registries": ["-box"]}, "invalid index name (-box). Cannot begin or end with a hyphen"),
        ({"insecure-registries": ["box/path"]}, "insecure registry box/path is not valid"),
        ({"insecure-registries": ["box:70000"]}, "insecure registry box:70000 is not valid"),
        ({"max-concurrent-downloads": -1}, "invalid max concurrent downloads: -1"),
        ({"proxies": {"ftp-proxy": "x"}}, "the following directives don't match any configuration option: ftp-proxy"),
        ({"proxies": "x"}, "proxies: "),
        ({"registries": {"a": {"mirror": []}}}, "registries: "),
        ({"registries": {"a": {"mirrors": [{"url": "x"}]}}}, "invalid mirror: no scheme specified"),
    ],
)
def test_what_is_refused(tmp_path, document, message):
    with pytest.raises(UsageError) as refused:
        loaded(tmp_path, document)
    assert message in str(refused.value)
    assert "s3cret" not in str(refused.value)


def test_objects_of_the_file_are_no_flags():
    for name in ("--registries", "--proxies"):
        with pytest.raises(UsageError, match=f"unknown flag: {name}"):
            load([name, "x"])
    assert "--registries" not in usage()
