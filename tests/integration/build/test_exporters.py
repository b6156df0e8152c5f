"""Where results go: the image, archives that load again, directories and tars."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import AsyncIterator

import pytest
from harness.builds import HERE, Client, Machine, Site, context, run
from harness.registry import Registry
from lightship.engine.build.graph import Copy, Step
from lightship.engine.build.request import Exporter
from lightship.engine.errors import Error
from lightship.engine.images.config import Platform
from lightship.engine.images.references import parse
from lightship.engine.images.registry.credentials import ANONYMOUS


def steps(base: Step) -> Step:
    return run(Copy(base, context(), ("/file",), "/dir/", name="COPY"), "rm /bin/true; echo made > /made")


def members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        found = [(each.name, archive.extractfile(each)) for each in archive.getmembers() if each.isfile()]
        return {name: file.read() for name, file in found if file is not None}


async def pieces(data: bytes) -> AsyncIterator[bytes]:
    yield data


def test_an_image_has_its_names_and_history(machine: Machine) -> None:
    (machine.context / "file").write_text("content")

    async def scenario(site: Site) -> None:
        names = Exporter("image", {"name": "docker.io/library/one,docker.io/library/two:2"})
        outcome, _ = await site.build(steps, exporters=(names,))
        image = site.engine.images.get_image("two:2")
        assert image.id == outcome.image_id == site.engine.images.get_image("one:latest").id
        assert outcome.response == {
            "containerimage.digest": image.id,
            "containerimage.config.digest": image.id,
            "image.name": "docker.io/library/one,docker.io/library/two:2",
        }
        history = image.config.history or []
        assert sum(not entry.empty_layer for entry in history) == len(image.diff_ids) == 3
        assert history[-1].comment == "buildkit.exporter.image.v0" and image.config.created == history[-1].created

    machine.run(scenario)


def test_source_date_epoch(machine: Machine) -> None:
    (machine.context / "file").write_text("content")

    async def scenario(site: Site) -> None:
        for seconds, shown in ((1700000000, "2023-11-14T22:13:20Z"), (0, "1970-01-01T00:00:00Z")):
            exporter = Exporter("image", {"source-date-epoch": str(seconds)})
            outcome, _ = await site.build(steps, exporters=(exporter,))
            config = site.engine.images.get_image(outcome.image_id).config
            assert config.created == shown == (config.history or [])[-1].created

    machine.run(scenario)


def test_archives_are_loaded_again(machine: Machine) -> None:
    (machine.context / "file").write_text("content")

    async def scenario(site: Site) -> None:
        outcome, _ = await site.build(steps)
        client = Client(site.context)
        for kind, layer in (
            ("docker", "application/vnd.docker.image.rootfs.diff.tar.gzip"),
            ("oci", "application/vnd.oci.image.layer.v1.tar+gzip"),
        ):
            exporter = Exporter(kind, {"name": f"example.com/made:{kind}", "dest": kind})
            exported, _ = await site.build(steps, exporters=(exporter,), client=client)
            found = members(client.sent[kind])
            index = json.loads(found["index.json"])["manifests"]
            assert [entry["annotations"]["io.containerd.image.name"] for entry in index] == [f"example.com/made:{kind}"]
            manifest = json.loads(found[f"blobs/{index[0]['digest'].replace(':', '/')}"])
            assert {each["mediaType"] for each in manifest["layers"][1:]} == {layer}
            assert exported.response["containerimage.config.digest"] == outcome.image_id == manifest["config"]["digest"]
            assert exported.response["containerimage.digest"] == index[0]["digest"]
            await site.engine.images.remove("made") if kind == "docker" else None
            async for _ in site.engine.images.load(pieces(client.sent[kind])):
                pass
            assert site.engine.images.get_image(f"example.com/made:{kind}").id == outcome.image_id
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_files_go_to_the_client(machine: Machine) -> None:
    (machine.context / "file").write_text("content")

    async def scenario(site: Site) -> None:
        client = Client(site.context)
        await site.build(steps, exporters=(Exporter("local"), Exporter("tar", {"dest": "tar"})), client=client)
        (directory,) = client.directories
        assert (directory / "dir/file").read_text() == "content" and (directory / "made").exists()
        assert not (directory / "bin/true").exists() and (directory / "bin/busybox").exists()
        found = members(client.sent["tar"])
        assert found["dir/file"] == b"content" and found["made"] == b"made\n" and "bin/true" not in found
        await site.build(
            lambda base: Copy(None, context(), ("/file",), "/", name="COPY"),
            exporters=(Exporter("local"),),
            client=client,
        )
        assert [path.name for path in client.directories[-1].iterdir()] == ["file"]
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_an_exporter_that_there_is_not(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        error, _ = await site.fail(lambda base: base, exporters=(Exporter("nothing"),))
        assert 'exporter "nothing" could not be found' in str(error)

    machine.run(scenario)


OTHER = Platform("linux", "s390x")
PROVENANCE = {"attest:provenance": "mode=min"}


def test_several_platforms_are_an_index(machine: Machine) -> None:
    (machine.context / "file").write_text("content")

    async def scenario(site: Site) -> None:
        client = Client(site.context)
        outcome, _ = await site.build(
            lambda base: Copy(base, context(), ("/file",), "/", name="COPY"),
            client=client,
            platforms=(HERE, OTHER),
            options=PROVENANCE,
            exporters=(Exporter("oci", {"name": "example.com/made:1", "dest": "oci"}),),
        )
        found = members(client.sent["oci"])
        top = json.loads(found["index.json"])["manifests"][0]
        assert top["digest"] == outcome.response["containerimage.digest"]
        index = json.loads(found[f"blobs/{top['digest'].replace(':', '/')}"])
        shown = [f"{entry['platform']['os']}/{entry['platform']['architecture']}" for entry in index["manifests"]]
        assert shown == [str(HERE), str(OTHER), "unknown/unknown", "unknown/unknown"]
        attestation = index["manifests"][2]
        assert attestation["annotations"] == {
            "vnd.docker.reference.digest": index["manifests"][0]["digest"],
            "vnd.docker.reference.type": "attestation-manifest",
        }
        manifest = json.loads(found[f"blobs/{attestation['digest'].replace(':', '/')}"])
        statement = json.loads(found[f"blobs/{manifest['layers'][0]['digest'].replace(':', '/')}"])
        assert statement["subject"][0]["name"].startswith("pkg:docker/example.com/made@1?platform=linux%2F")
        assert statement["predicate"]["materials"][0]["uri"].startswith("pkg:docker/busybox@latest")

    machine.run(scenario)


def test_several_platforms_are_one_image_here(machine: Machine) -> None:
    (machine.context / "file").write_text("content")

    async def scenario(site: Site) -> None:
        images = site.engine.images
        exporter = Exporter("image", {"name": "example.com/made:1"})
        outcome, _ = await site.build(steps, exporters=(exporter,), platforms=(OTHER, HERE), options=PROVENANCE)
        image = images.get_image("example.com/made:1")
        assert image.config.platform == HERE and outcome.image_id == image.id
        assert {str(each.config.platform) for each in images.catalog.siblings(image)} == {str(OTHER)}
        index = images.catalog.index_of(parse("example.com/made:1"))
        assert index is not None and index.descriptor.digest == outcome.response["containerimage.digest"]
        assert len(index.entries) == 4 and all(images.catalog.has_whole(entry) for entry in index.entries)
        await images.remove("example.com/made:1")
        assert not images.catalog.index_blobs()
        assert site.clean(), site.leftovers()

    machine.run(scenario)


def test_push(machine: Machine) -> None:
    (machine.context / "file").write_text("content")
    registry = Registry(machine.netns)
    name = f"{registry.host}/made:1"

    async def scenario(site: Site) -> None:
        exporter = Exporter("image", {"name": name, "push": "true"})
        outcome, _ = await site.build(steps, exporters=(exporter,), platforms=(HERE, OTHER), options=PROVENANCE)
        async for _ in site.engine.images.pull(parse(name), credentials=ANONYMOUS):
            pass
        image = site.engine.images.get_image(name)
        assert any(outcome.response["containerimage.digest"] in digest for digest in image.digests)
        assert (site.engine.snapshots.layer_path(image.diff_ids[-1]) / "made").read_text() == "made\n"
        assert site.clean(), site.leftovers()

    try:
        machine.run(scenario)
    finally:
        registry.close()


def test_what_is_not_made_is_refused(machine: Machine) -> None:
    async def scenario(site: Site) -> None:
        for exporter, options, text in (
            (Exporter("oci", {"tar": "false"}), {}, "tar=false"),
            (Exporter("oci", {"compression": "estargz"}), {}, "unsupported compression type estargz"),
            (Exporter("image", {"push": "true"}), {}, "tag is needed when pushing to registry"),
            (Exporter("image", {"push": "perhaps"}), {}, "non-bool value specified for push"),
            (Exporter("oci", {"dest": "x"}), {"attest:sbom": ""}, "SBOM"),
            (Exporter("oci", {"dest": "x"}), {"attest:provenance": "mode=maximal"}, "invalid mode"),
        ):
            with pytest.raises(Error, match=text):
                await site.build(lambda base: base, exporters=(exporter,), options=options)
        assert site.clean(), site.leftovers()

    machine.run(scenario)
