"""The registry client's own rules: challenges, credentials, endpoints, words for failures, the choice of a platform."""

from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys

import pytest
from lightship.engine.config import Mirror, RegistryConfig
from lightship.engine.images.config import INDEX, MANIFEST, DescribedPlatform, Descriptor, Platform
from lightship.engine.images.references import parse
from lightship.engine.images.registry import credentials, failures
from lightship.engine.images.registry.auth import parse_challenges
from lightship.engine.images.registry.credentials import ANONYMOUS, Credentials
from lightship.engine.images.registry.hosts import HUB, Endpoint, endpoints
from lightship.engine.images.registry.manifests import best, not_found_text


@pytest.mark.parametrize(
    ("header", "found"),
    [
        ('Basic realm="x"', [("basic", {"realm": "x"})]),
        ("Basic", [("basic", {})]),
        (
            'Bearer realm="https://auth/token",service="reg",scope="repository:a/b:pull,push"',
            [("bearer", {"realm": "https://auth/token", "service": "reg", "scope": "repository:a/b:pull,push"})],
        ),
        ('Bearer realm="a\\"b", error=invalid_token', [("bearer", {"realm": 'a"b', "error": "invalid_token"})]),
        ('Bearer realm="a", Basic realm="b"', [("bearer", {"realm": "a"}), ("basic", {"realm": "b"})]),
        ("", []),
    ],
)
def test_challenges(header, found):
    assert parse_challenges([header]) == found


def encoded(document):
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode()


def test_credentials_are_read():
    assert credentials.decode(encoded({"username": "u", "password": "p"})) == Credentials("u", "p")
    assert credentials.decode(encoded({"identitytoken": "t"})).identity_token == "t"
    assert credentials.decode(encoded({"username": "u"}).rstrip("=")).username == "u"
    packed = base64.b64encode(b"u:p:q").decode()
    assert credentials.decode(encoded({"auth": packed})) == Credentials("u", "p:q")


@pytest.mark.parametrize("header", ["", "e30=", "!!!", "bm90IEpTT04=", encoded([1]), encoded({"username": 1})])
def test_what_cannot_be_read_is_anonymous(header):
    assert credentials.decode(header) == ANONYMOUS


def test_credentials_of_a_registry():
    config = credentials.decode_config(
        encoded({"https://index.docker.io/v1/": {"username": "hub"}, "https://r.example/v1/": {"username": "r"}})
    )
    assert credentials.for_domain(config, "docker.io").username == "hub"
    assert credentials.for_domain(config, "r.example").username == "r"
    assert credentials.for_domain(config, "other.example") == ANONYMOUS


def test_secrets_are_not_shown():
    shown = repr(Credentials("u", "s3cret", "s3cret", "s3cret", auth="s3cret"))
    assert "s3cret" not in shown


def asked(config, domain, *, with_mirrors=True, plain=()):
    return asyncio.run(endpoints(config, domain, with_mirrors=with_mirrors, plain=plain))


def test_endpoints_of_docker_hub():
    config = RegistryConfig(hub_mirrors=("https://m.example/",))
    mirror = Endpoint("https://m.example", is_mirror=True)
    assert asked(config, "docker.io") == [mirror, Endpoint(HUB)]
    assert asked(config, "docker.io", with_mirrors=False) == [Endpoint(HUB)]
    assert asked(config, "10.1.2.3:5000") == [Endpoint("https://10.1.2.3:5000")]


@pytest.mark.parametrize("domain", ["127.0.0.1:5000", "[::1]:5000", "10.1.2.3", "box.example:5000"])
def test_insecure_registries_may_speak_http(domain):
    config = RegistryConfig(insecure=("10.0.0.0/8", "box.example:5000"))
    https, http = Endpoint(f"https://{domain}", True), Endpoint(f"http://{domain}", True)
    assert asked(config, domain) == [https, http]
    assert asked(config, domain, plain={domain}) == [http, https]


def test_mirrors_have_credentials_of_their_own():
    config = RegistryConfig(mirrors={"10.0.0.1": (Mirror("https://10.0.0.2/path", "u", "p"),)})
    mirror = Endpoint("https://10.0.0.2/path", is_mirror=True, credentials=Credentials("u", "p"))
    assert asked(config, "10.0.0.1") == [mirror, Endpoint("https://10.0.0.1")]
    assert asked(config, "docker.io") == [Endpoint(HUB)]


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (404, {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]},
         "manifest unknown: manifest unknown"),
        (401, {"errors": [{"code": "UNAUTHORIZED"}]}, "unauthorized: authentication required"),
        (401, {"details": "wrong"}, "unauthorized: wrong"),
        (429, {"details": "slow"}, "toomanyrequests: slow"),
        (403, {"errors": [{"code": "DENIED", "message": "a"}, {"code": "X", "message": "b"}]},
         "errors:\ndenied: a\nx: b\n"),
        (503, {}, "received unexpected HTTP status: 503 Why"),
        (404, [], 'error parsing HTTP 404 response body: no error details found in HTTP response body: "[]"'),
    ],
)  # fmt: skip
def test_words_for_answers(status, body, message):
    assert str(failures.of_response(status, "Why", json.dumps(body).encode(), [])) == message


def test_a_challenge_says_more_than_the_body():
    challenge = [("bearer", {"error": "insufficient_scope"})]
    error = failures.of_response(401, "", b"{}", challenge)
    assert str(error) == "denied: requested access to the resource is denied"
    assert isinstance(error, failures.Refused) and error.code == "DENIED"


def test_words_for_a_refused_pull():
    denied = failures.Refused("DENIED", "no")
    assert not_found_text(denied, parse("alpine:1")) == (
        "pull access denied for alpine, repository does not exist or may require 'docker login': denied: no"
    )
    unknown = failures.Refused("MANIFEST_UNKNOWN", "manifest unknown")
    assert not_found_text(unknown, parse("alpine:1")) == (
        "manifest for alpine:1 not found: manifest unknown: manifest unknown"
    )


def entry(name, architecture, variant="", *, media_type=MANIFEST, os="linux"):
    return Descriptor(media_type, 1, name, platform=DescribedPlatform(os, architecture, variant))


ENTRIES = [
    entry("unknown", "unknown", os="unknown"),
    entry("armv5", "arm", "v5"),
    entry("armv7", "arm", "v7"),
    entry("amd64", "amd64"),
    entry("amd64v3", "amd64", "v3"),
    entry("arm64", "arm64", "v8"),
    entry("windows", "amd64", os="windows"),
    Descriptor("application/x", 1, "x", platform=DescribedPlatform("linux", "s390x")),
]


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("linux/amd64", "amd64"), ("linux/amd64/v3", "amd64v3"), ("linux/arm64", "arm64"), ("linux/arm64/v8", "arm64"),
        ("linux/arm/v6", "armv5"), ("linux/arm/v7", "armv7"), ("linux/arm", "armv7"), ("linux/s390x", None),
        ("windows/amd64", "windows"), ("linux/ppc64le", None),
    ],
)  # fmt: skip
def test_the_manifest_for_a_platform(wanted, found):
    chosen = best(ENTRIES, Platform.parse(wanted))
    assert (chosen and chosen.digest) == found


def test_an_index_within_is_gone_through_where_nothing_fits_better():
    inner = Descriptor(INDEX, 1, "inner")
    assert best([inner, *ENTRIES], Platform("linux", "amd64")).digest == "amd64"
    assert best([inner], Platform("linux", "amd64")) is inner


def test_an_idle_engine_has_no_http_client_in_memory():
    script = "import sys, lightship.engine.engine, lightship.api.app; print('httpx' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
