"""What an exporter may be asked of its documents, and what it refuses."""

from __future__ import annotations

import pytest
from lightship.engine.build.exporting.attributes import Annotations, Compression, check
from lightship.engine.build.exporting.manifests import Settings
from lightship.engine.build.exporting.provenance import read
from lightship.engine.build.request import Exporter
from lightship.engine.errors import Error, InvalidArgument, NotFound, NotImplemented
from lightship.engine.images.config import Platform


def test_what_is_asked() -> None:
    asked = {"compression": "uncompressed", "annotation.a": "b", "force-compression": "false"}
    made = Settings.of(Exporter("docker", asked), oci=False)
    assert (made.compression, made.oci) == (Compression(""), False)
    assert made.annotations.of_platform("manifest", Platform("linux", "amd64")) == {"a": "b"}


@pytest.mark.parametrize(
    ("asked", "oci"),
    [
        ({}, False),
        ({"oci-mediatypes": ""}, True),
        ({"annotation.a": "b"}, False),
        ({"annotation-index.a": "b"}, True),
        ({"oci-artifact": "true", "oci-mediatypes": "false"}, True),
    ],
    ids=str,
)
def test_media_types(asked: dict[str, str], oci: bool) -> None:
    assert Settings.of(Exporter("docker", asked), oci=False).oci is oci


def test_annotations_are_of_platforms() -> None:
    asked = {"annotation[linux/arm64].a": "1", "annotation.a": "0", "annotation.b": "2", "annotation-index.c": "3"}
    made = Annotations.of(Exporter("oci", asked))
    assert made.of_platform("manifest", Platform("linux", "arm64")) == {"a": "1", "b": "2"}
    assert made.of_platform("manifest", Platform("linux", "amd64")) == {"a": "0", "b": "2"}
    assert made.of_index("index") == {"c": "3"}
    with pytest.raises(InvalidArgument, match="no platform linux/arm64 found in source"):
        made.check([Platform("linux", "amd64")], has_index=True)


@pytest.mark.parametrize(
    ("kind", "asked", "error"),
    [
        ("oci", {"compression": "estargz"}, NotImplemented),
        ("oci", {"compression": "lz4"}, InvalidArgument),
        ("oci", {"compression-level": "10"}, InvalidArgument),
        ("oci", {"tar": "false"}, NotImplemented),
        ("oci", {"push": "true"}, InvalidArgument),
        ("image", {"prefer-nondist-layers": "x"}, InvalidArgument),
        ("nothing", {}, NotFound),
    ],
    ids=str,
)
def test_what_is_refused(kind: str, asked: dict[str, str], error: type[Error]) -> None:
    with pytest.raises(error):
        check([Exporter(kind, asked)], [])


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ({}, None),
        ({"attest:provenance": "false"}, None),
        ({"attest:provenance": "mode=max,disabled=true"}, None),
        ({"attest:provenance": ""}, {}),
        ({"build-arg:BUILDKIT_ATTEST_PROVENANCE": "mode=min"}, {"mode": "min"}),
        ({"attest:provenance": "mode=full,version=v1"}, {"mode": "full", "version": "v1"}),
    ],
    ids=str,
)
def test_what_is_attested(options: dict[str, str], settings: dict[str, str] | None) -> None:
    assert read(options) == settings


@pytest.mark.parametrize(
    "options",
    [
        {"attest:sbom": ""},
        {"attest:other": ""},
        {"attest:provenance": "mode=x"},
        {"attest:provenance": "version=v3"},
        {"attest:provenance": "reproducible=x"},
        {"attest:provenance": "capture-usage=true"},
    ],
    ids=str,
)
def test_what_is_not_attested(options: dict[str, str]) -> None:
    with pytest.raises(Error):
        read(options)
