"""Pulls from a registry that lies, breaks off, stalls or sends elsewhere; and what a killed daemon leaves."""

from __future__ import annotations

import asyncio
import gzip
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from harness import images as made
from harness.waiting import LIMIT_S
from lightship.engine.config import Mirror, RegistryConfig
from lightship.engine.errors import Error
from lightship.engine.images.images import Images
from lightship.engine.images.references import parse
from lightship.engine.images.registry import blobs
from lightship.engine.images.registry.credentials import Credentials

from .conftest import Opened, leftovers
from .naughty import INDEX, MANIFEST, Answer, Naughty, digest

ALICE = Credentials("alice", "s3cret-of-alice")


@pytest.fixture
def registry() -> Iterator[Naughty]:
    naughty = Naughty()
    yield naughty
    naughty.close()


@pytest.fixture
def other() -> Iterator[Naughty]:
    naughty = Naughty()
    yield naughty
    naughty.close()


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blobs, "_WAIT_S", 1)


LAYER = made.layer(made.entry("a", random.Random(1).randbytes(300_000)))
SMALL = made.layer(made.entry("b", b"b"))


def pulled(
    opened: Opened[Any], naughty: Naughty, *, name: str = "x:1", credentials: Credentials = ALICE, **changes: Any
) -> list[dict[str, Any]]:
    """Pull and return the messages; `changes` are settings of registries."""

    async def work(images: Images) -> list[dict[str, Any]]:
        images.registry = RegistryConfig(**changes)
        reference = parse(f"{naughty.host}/{name}")
        return [message async for message in images.pull(reference, credentials=credentials)]

    found: list[dict[str, Any]] = opened(work)
    return found


def refused(opened: Opened[Any], naughty: Naughty, root: Path, **changes: Any) -> str:
    with pytest.raises(Error) as error:
        pulled(opened, naughty, **changes)
    assert leftovers(root) == []
    return str(error.value)


def test_a_broken_connection_is_resumed(opened: Opened[Any], registry: Naughty) -> None:
    layer = registry.image("1", LAYER)["layers"][0]
    path = f"blobs/{layer['digest']}"
    registry.answers[path] = Answer(body=registry.documents[path][0], cut_at=100_000, times=1)
    messages = pulled(opened, registry)
    assert messages[-1]["status"].startswith("Status: Downloaded newer image")
    ranges = [headers.get("range") for method, asked, headers in registry.asked if asked == path]
    assert ranges[0] is None and ranges[1] is not None and int(ranges[1][6:-1]) <= 100_000
    assert any(message["status"] == "Retrying in 1 second" for message in messages)


def test_a_server_without_ranges_begins_anew(opened: Opened[Any], registry: Naughty) -> None:
    layer = registry.image("1", LAYER)["layers"][0]
    path = f"blobs/{layer['digest']}"
    whole = registry.documents.pop(path)[0]
    registry.answers[path] = Answer(body=whole, cut_at=100_000, times=1)

    def before(asked: str) -> None:
        if asked == path and registry.answers[path].times == 0:
            registry.answers[path] = Answer(body=whole)

    registry.before = before
    assert pulled(opened, registry)[-1]["status"].startswith("Status: Downloaded newer image")


@pytest.mark.parametrize("size", [0, 5, 100_000])
def test_a_layer_that_never_comes_whole(opened: Opened[Any], registry: Naughty, root: Path, size: int) -> None:
    layer = registry.image("1", LAYER)["layers"][0]
    path = f"blobs/{layer['digest']}"
    registry.answers[path] = Answer(body=registry.documents[path][0], cut_at=size)
    message = refused(opened, registry, root, max_download_attempts=2)
    assert "EOF" in message or "connection reset" in message


def lies(registry: Naughty, document: dict[str, Any], how: str) -> None:
    layer = document["layers"][0]
    path = f"blobs/{layer['digest']}"
    data = registry.documents[path][0]
    other = gzip.compress(SMALL, 1, mtime=0)
    if how == "other content":
        registry.answers[path] = Answer(body=other + bytes(len(data) - len(other)))
    elif how == "longer":
        registry.answers[path] = Answer(body=data + bytes(1000))
    elif how == "size too small":
        layer["size"] -= 1
        registry.manifest("1", document)
    elif how == "size too large":
        layer["size"] += 1
        registry.manifest("1", document)


@pytest.mark.parametrize("how", ["other content", "longer", "size too small", "size too large"])
def test_layers_that_lie(opened: Opened[Any], registry: Naughty, root: Path, how: str) -> None:
    document = registry.image("1", LAYER)
    lies(registry, document, how)
    message = refused(opened, registry, root, max_download_attempts=1)
    expected = f"filesystem layer verification failed for digest {document['layers'][0]['digest']}"
    assert message == ("unexpected EOF" if how == "size too large" else expected)


def test_a_layer_of_another_image(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    document = registry.image("1", LAYER)
    document["layers"] = registry.image("2", SMALL)["layers"]
    registry.manifest("1", document)
    assert refused(opened, registry, root) == "layers from manifest don't match image configuration"


def test_a_layer_that_is_no_archive(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    document = registry.image("1", LAYER)
    document["layers"] = [{"mediaType": document["layers"][0]["mediaType"], **registry.blob(b"<html>" * 200)}]
    registry.manifest("1", document)
    assert refused(opened, registry, root).startswith("failed to register layer: ")


def test_a_config_that_lies(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    config = registry.image("1", LAYER)["config"]
    path = f"blobs/{config['digest']}"
    registry.answers[path] = Answer(body=registry.documents[path][0].replace(b"amd64", b"arm64"))
    assert refused(opened, registry, root) == f"image config verification failed for digest {config['digest']}"


def test_a_manifest_that_lies(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    found = registry.manifest("2", registry.image("1", LAYER) | {"annotations": {"a": "b"}})
    registry.answers[f"manifests/{found['digest']}"] = Answer(body=registry.documents["manifests/1"][0])
    message = refused(opened, registry, root, name=f"x@{found['digest']}")
    assert message == f"manifest verification failed for digest {found['digest']}"


def test_an_index_without_end(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    entry = registry.manifest("0", {"schemaVersion": 2, "mediaType": INDEX, "manifests": []})
    for depth in range(1, 10):
        entry = registry.manifest(str(depth), {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    assert refused(opened, registry, root, name="x:9") == "the manifest list is nested too deeply"


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (b"<html>hello</html>", "invalid manifest: "),
        (b"[]", "invalid manifest: "),
        (b'{"schemaVersion": 1, "name": "x"}', "Docker Image Format v1 and Docker Image manifest version 2, schema 1"),
        (b'{"schemaVersion": 2, "mediaType": "application/x"}', "unsupported manifest format"),
        (b'{"schemaVersion": 2, "mediaType": "%s", "config": {"mediaType": "a/b", "size": 1, "digest": "%s"}}'
         % (MANIFEST.encode(), digest(b"").encode()), 'Encountered remote "a/b"'),
        (b'{"schemaVersion": 2, "mediaType": "%s", "config": {"mediaType": "", "size": 1, "digest": "sha256:../x"}}'
         % MANIFEST.encode(), "invalid checksum digest"),
        (b" " * (5 << 20), "is larger than"),
    ],
)  # fmt: skip
def test_manifests_that_are_none(
    opened: Opened[Any], registry: Naughty, root: Path, document: bytes, message: str
) -> None:
    registry.documents["manifests/1"] = document, MANIFEST
    registry.documents[f"manifests/{digest(document)}"] = document, MANIFEST
    assert message in refused(opened, registry, root)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(404, b"<html>"), "error parsing HTTP 404 response body: "),
        (Answer(400, b'{"errors": []}'), "no error details found in HTTP response body"),
        (Answer(401, b"<html>"), "unauthorized: authentication required"),
        (Answer(403, b'{"errors": [{"code": "DENIED", "message": "no"}]}'), "pull access denied for 127.0.0.1"),
        (Answer(404, b'{"errors": [{"code": "NAME_UNKNOWN", "message": "no"}]}'), "/x not found: name unknown: no"),
        (Answer(429, b'{"errors": [{"code": "TOOMANYREQUESTS", "message": "slow"}]}'), "toomanyrequests: slow"),
        (Answer(429, b'{"details": "slow down"}'), "toomanyrequests: slow down"),
        (Answer(502, b"bad"), "received unexpected HTTP status: 502 Bad Gateway"),
    ],
)
def test_refusals(opened: Opened[Any], registry: Naughty, root: Path, answer: Answer, message: str) -> None:
    registry.answers["manifests/1"] = answer
    assert message in refused(opened, registry, root)


def test_credentials_do_not_follow_a_redirect(opened: Opened[Any], registry: Naughty, other: Naughty) -> None:
    layer = registry.image("1", LAYER)["layers"][0]
    path = f"blobs/{layer['digest']}"
    other.documents[path] = registry.documents[path]
    elsewhere = f"http://{other.host}/v2/x/{path}"
    registry.answers[""] = Answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})
    registry.answers[path] = Answer(307, b"", {"Location": elsewhere})
    pulled(opened, registry)
    assert all("authorization" in headers for _, asked, headers in registry.asked if asked)
    assert [asked for _, asked, _ in other.asked] == [path]
    assert all("authorization" not in headers for _, _, headers in other.asked)


def test_redirects_without_end(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    layer = registry.image("1", LAYER)["layers"][0]
    path = f"blobs/{layer['digest']}"
    registry.answers[path] = Answer(307, b"", {"Location": f"/v2/x/{path}"})
    assert "redirects" in refused(opened, registry, root, max_download_attempts=1)


def test_no_secret_is_logged(
    opened: Opened[Any], registry: Naughty, root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    registry.image("1", LAYER)
    registry.answers[""] = Answer(401, b"{}", {"WWW-Authenticate": f'Bearer realm="http://{registry.host}/v2/token"'})
    registry.answers["token"] = Answer(200, b'{"token": "a-secret-token"}')
    pulled(opened, registry)
    assert any(headers.get("authorization") == "Bearer a-secret-token" for _, _, headers in registry.asked)
    registry.answers["token"] = Answer(401, b'{"details": "no"}')
    with pytest.raises(Error) as error:
        pulled(opened, registry, name="x:2")
    for secret in ("s3cret-of-alice", "a-secret-token", "YWxpY2U6"):
        assert secret not in caplog.text and secret not in str(error.value)


def test_a_mirror_is_asked_first_with_its_own_credentials(
    opened: Opened[Any], registry: Naughty, other: Naughty
) -> None:
    registry.image("1", LAYER)
    registry.answers[""] = Answer(401, b"{}", {"WWW-Authenticate": 'Basic realm="x"'})
    mirror = Mirror(f"http://{registry.host}/cache", "bob", "of-bob")
    messages = pulled(opened, other, mirrors={other.host: (mirror,)})
    assert messages[-1]["status"].endswith(f"{other.host}/x:1")
    assert other.asked == []
    sent = {headers["authorization"] for _, asked, headers in registry.asked if asked}
    assert sent == {"Basic Ym9iOm9mLWJvYg=="}


def test_the_registry_is_asked_where_a_mirror_does_not_have_it(
    opened: Opened[Any], registry: Naughty, other: Naughty
) -> None:
    registry.image("1", LAYER)
    mirrors = {registry.host: (Mirror("http://127.0.0.1:9"), Mirror(f"http://{other.host}"))}
    assert pulled(opened, registry, mirrors=mirrors)[-1]["status"].endswith(f"{registry.host}/x:1")
    assert all("authorization" not in headers for _, _, headers in other.asked)


def hold(registry: Naughty, layer: dict[str, Any]) -> tuple[threading.Event, threading.Event]:
    """Have a layer wait when it is asked for: the event that it is, and the one that lets it go."""
    reached, released = threading.Event(), threading.Event()

    def before(asked: str) -> None:
        if asked == f"blobs/{layer['digest']}":
            reached.set()
            released.wait(LIMIT_S)

    registry.before = before
    return reached, released


def test_a_client_that_goes_away_ends_the_pull(opened: Opened[Any], registry: Naughty, root: Path) -> None:
    layer = registry.image("1", LAYER)["layers"][0]
    reached, released = hold(registry, layer)

    async def work(images: Images) -> None:
        messages = images.pull(parse(f"{registry.host}/x:1"), credentials=ALICE)
        async for message in messages:
            if message["status"] == "Pulling fs layer":
                await asyncio.to_thread(reached.wait, LIMIT_S)
                break
        await messages.aclose()  # type: ignore[attr-defined]
        assert images.count() == 0

    opened(work)
    released.set()
    assert leftovers(root) == []


def test_what_a_pull_relies_on_is_not_collected(opened: Opened[Any], registry: Naughty) -> None:
    """An image that goes while another with its layer is pulled leaves the layer."""
    registry.image("1", LAYER)
    above = registry.image("2", LAYER, SMALL)
    reached, released = hold(registry, above["layers"][1])

    async def work(images: Images) -> None:
        async for _ in images.pull(parse(f"{registry.host}/x:1"), credentials=ALICE):
            pass
        pulling = asyncio.ensure_future(_drained(images, f"{registry.host}/x:2"))
        await asyncio.to_thread(reached.wait, LIMIT_S)
        await images.remove(f"{registry.host}/x:1")
        released.set()
        await pulling
        image = images.get_image(f"{registry.host}/x:2")
        assert all(images.content.has(blob) for blob in image.blobs)
        assert all(images.snapshotter.layer_path(diff_id).is_dir() for diff_id in image.diff_ids)

    opened(work)


async def _drained(images: Images, name: str) -> None:
    async for _ in images.pull(parse(name), credentials=ALICE):
        pass


def test_disk_full(registry: Naughty, tmp_path: Path, opened: Opened[Any], root: Path) -> None:
    """A pull that does not fit says so, and leaves the space as it was."""
    root.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(root)]).returncode:
        pytest.skip("cannot mount")
    try:
        registry.image("1", made.layer(made.entry("big", random.Random(2).randbytes(5 << 20))))
        assert "no space left on device" in refused(opened, registry, root, max_download_attempts=1)
        registry.image("1", SMALL)
        assert pulled(opened, registry)[-1]["status"].startswith("Status: Downloaded")
    finally:
        subprocess.run(["umount", "-l", str(root)], check=True)


PULLER = """
import asyncio, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from lightship.engine.config import RegistryConfig
from lightship.engine.events import Events
from lightship.engine.images.images import Images
from lightship.engine.images.references import parse
from lightship.engine.images.registry.credentials import ANONYMOUS
from lightship.engine.snapshots.snapshotter import Snapshotter
from lightship.engine.store import Store

async def main():
    root = Path({root!r})
    store = Store(root / "lightship.db")
    images = Images(root, store, Events(), Snapshotter(root / "snapshots", store), RegistryConfig())
    await images.start()
    async for message in images.pull(parse({name!r}), credentials=ANONYMOUS):
        print(message, flush=True)

asyncio.run(main())
"""


@pytest.mark.parametrize("seed", range(6))
def test_a_killed_pull_leaves_nothing_half_made(opened: Opened[Any], registry: Naughty, root: Path, seed: int) -> None:
    """Killed after some time, or after some message, or not at all: the image runs, or is not there."""
    dice = random.Random(seed)
    layers = [made.layer(made.entry(f"{n}", dice.randbytes(200_000))) for n in range(6)]
    registry.image("1", *layers)
    root.mkdir(exist_ok=True)
    script = PULLER.format(tests=str(Path(__file__).parents[2]), root=str(root), name=f"{registry.host}/x:1")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert process.stdout is not None
    for _ in range(dice.randrange(2, 40)):
        if not process.stdout.readline():
            break
    time.sleep(dice.random() * 0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()

    async def check(images: Images) -> int:
        for image in images.catalog.images():
            assert all(digest(images.content.path(blob).read_bytes()) == blob for blob in image.blobs)
            assert all(os.listdir(images.snapshotter.layer_path(diff_id)) for diff_id in image.diff_ids)
        return images.count()

    count = opened(check)
    if not count:
        assert leftovers(root) == []
    pulled(opened, registry)
    assert opened(check) == 1
