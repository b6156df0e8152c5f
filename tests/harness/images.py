"""Images made on the spot: a busybox root from the distribution's static binary, and archives as `docker save` writes.

Nothing is pulled. `layer` gives tar bytes, `docker_archive` and `oci_layout` wrap them.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import subprocess
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PASSWD = "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/:/bin/false\napp:x:1000:1000:app:/home/app:/bin/sh\n"
MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
GROUP = "root:x:0:\ndaemon:x:1:\nwheel:x:10:app\nstaff:x:50:app\napp:x:1000:\n"


def entry(
    name: str,
    data: bytes | None = None,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    kind: bytes | None = None,
    link: str = "",
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, str] | None = None,
) -> tuple[tarfile.TarInfo, bytes]:
    """One member of a layer: a directory without data, a file with data, or what ``kind`` says."""
    info = tarfile.TarInfo(name)
    info.type = kind or (tarfile.DIRTYPE if data is None else tarfile.REGTYPE)
    info.mode, info.uid, info.gid, info.linkname, info.mtime = mode, uid, gid, link, 1_700_000_000
    info.devmajor, info.devminor = device
    info.size = len(data or b"")
    info.pax_headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
    return info, data or b""


def layer(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in entries:
            tar.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return buffer.getvalue()


def busybox_layer() -> bytes:
    """A root file system with busybox for every command, users, and mount points; python finds its libraries when
    /usr is bound in.
    """
    binary = shutil.which("busybox", path="/bin:/usr/bin:/sbin")
    if binary is None:
        raise RuntimeError("busybox is missing: install busybox-static")
    with open(binary, "rb") as file:
        content = file.read()
    applets = subprocess.run([binary, "--list"], check=True, capture_output=True, text=True).stdout.split()
    directories = ["bin", "dev", "etc", "proc", "sys", "usr", "var", "root", "home"]
    members = [entry(name, mode=0o755) for name in directories]
    members += [entry("tmp", mode=0o1777), entry("home/app", mode=0o755, uid=1000, gid=1000)]
    members += [
        entry("lib", kind=tarfile.SYMTYPE, link="usr/lib"),
        entry("lib64", kind=tarfile.SYMTYPE, link="usr/lib64"),
    ]
    members += [entry("bin/busybox", content, mode=0o755)]
    members += [entry(f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox") for name in applets if name != "busybox"]
    members += [entry("etc/passwd", PASSWD.encode()), entry("etc/group", GROUP.encode())]
    return layer(*members)


def program_layer(program: str, name: str) -> bytes:
    """A layer with one of the host's programs under a name of its own, and the libraries that it loads."""
    shown = subprocess.run(["ldd", program], capture_output=True, text=True)  # fails for a static one, which needs none
    libraries = re.findall(r"(/\S+) \(0x", shown.stdout)
    files = [(name, program), *((f"usr{path.removeprefix('/usr')}", path) for path in libraries)]
    return layer(*(entry(where, Path(path).read_bytes(), mode=0o755) for where, path in files))


@dataclass
class Image:
    """An image to be archived: its layers as plain tars and the parts of its config that differ from the default."""

    tags: list[str]
    layers: list[bytes]
    config: dict[str, Any] = field(default_factory=dict)
    architecture: str = "amd64"

    def document(self) -> bytes:
        """The image's config document; its digest is the image's id."""
        return json.dumps(
            {
                "architecture": self.architecture,
                "os": "linux",
                "created": "2024-01-02T03:04:05Z",
                "config": {"Env": [PATH], "Cmd": ["sh"], **self.config},
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + sha256(data) for data in self.layers]},
                "history": [
                    {"created": "2024-01-02T03:04:05Z", "created_by": f"ADD layer {n}"} for n in range(len(self.layers))
                ],
            }
        ).encode()

    @property
    def id(self) -> str:
        return "sha256:" + sha256(self.document())


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def docker_archive(images: Sequence[Image], *, without_layers: Iterable[str] = (), compress: bool = False) -> bytes:
    """The archive of `docker save` before OCI layouts: manifest.json, one config an image, the layers.

    ``without_layers`` names diff ids (hex) whose content is left out, as tools do that know what the daemon has.
    """
    left_out, members, manifest = set(without_layers), {}, []
    for image in images:
        names = []
        for data in image.layers:
            digest = sha256(data)
            names.append(f"{digest}/layer.tar")
            if digest not in left_out:
                members[names[-1]] = gzip.compress(data, 1) if compress else data
        members[f"{image.id[7:]}.json"] = image.document()
        manifest.append({"Config": f"{image.id[7:]}.json", "RepoTags": image.tags, "Layers": names})
    members["manifest.json"] = json.dumps(manifest).encode()
    return layer(*(entry(name, data) for name, data in members.items()))


def oci_layout(images: Sequence[Image], *, compress: bool = False) -> bytes:
    """An OCI image layout as one tar: oci-layout, index.json, blobs by digest."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes, media_type: str) -> dict[str, Any]:
        blobs[sha256(data)] = data
        return {"mediaType": media_type, "digest": "sha256:" + sha256(data), "size": len(data)}

    manifests = []
    layer_type = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
    for image in images:
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "config": blob(image.document(), "application/vnd.oci.image.config.v1+json"),
            "layers": [blob(gzip.compress(data, 1) if compress else data, layer_type) for data in image.layers],
        }
        descriptor = blob(json.dumps(manifest).encode(), MANIFEST_TYPE)
        for tag in image.tags:
            manifests.append(
                {
                    **descriptor,
                    "annotations": {
                        "io.containerd.image.name": f"docker.io/library/{tag}",
                        "org.opencontainers.image.ref.name": tag.split(":")[1],
                    },
                }
            )
    members = [
        entry("oci-layout", b'{"imageLayoutVersion":"1.0.0"}'),
        entry("index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode()),
        entry("blobs", mode=0o755),
        entry("blobs/sha256", mode=0o755),
    ]
    members += [entry(f"blobs/sha256/{digest}", data) for digest, data in blobs.items()]
    return layer(*members)
