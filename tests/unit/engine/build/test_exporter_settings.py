"""What an exporter may be asked of its documents, and what it refuses."""

from __future__ import annotations

import pytest
from lightship.engine.build.exporting.manifests import Settings
from lightship.engine.build.request import Exporter
from lightship.engine.errors import NotImplemented


def test_what_is_asked() -> None:
    asked = {"compression": "uncompressed", "annotation.a": "b", "force-compression": "false"}
    made = Settings.of(Exporter("docker", asked), oci=False)
    assert (made.compression, made.oci, dict(made.annotations)) == ("uncompressed", True, {"a": "b"})


@pytest.mark.parametrize(
    "asked", [{"compression": "zstd"}, {"force-compression": "true"}, {"compression-level": "3"}], ids=str
)
def test_what_is_not_there(asked: dict[str, str]) -> None:
    with pytest.raises(NotImplemented):
        Settings.of(Exporter("oci", asked), oci=True)
