"""Images through the CLI: load, save, import, tag, rmi, history, inspect; the rules while an image is in use."""

from __future__ import annotations

import io
import json
import lzma
import subprocess
import tarfile
from pathlib import Path

import pytest
from harness import images
from harness.docker import Docker
from harness.engine import ON_DOCKERD
from harness.http import Api


@pytest.fixture
def small(busybox_layer: bytes) -> images.Image:
    top = images.layer(images.entry("greeting", b"hello\n"))
    return images.Image(["small:1"], [busybox_layer, top], {"Labels": {"a": "b"}})


def members(archive: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        return {m.name: tar.extractfile(m).read() for m in tar if m.isreg()}  # type: ignore[union-attr]


def save(docker: Docker, tmp_path: Path, *references: str) -> bytes:
    docker.ok("save", "-o", str(tmp_path / "saved.tar"), *references)
    return (tmp_path / "saved.tar").read_bytes()


@pytest.mark.parametrize("compress", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        images.docker_archive,
        pytest.param(
            images.oci_layout,
            marks=pytest.mark.skipif(
                ON_DOCKERD, reason="dockerd's graph drivers do not read an OCI layout without manifest.json"
            ),
        ),
    ],
)
def test_load_knows_both_archives(docker: Docker, small: images.Image, kind: object, compress: bool) -> None:
    archive = kind([small], compress=compress)  # type: ignore[operator]
    assert docker.ok("load", stdin=archive) == "Loaded image: small:1"
    assert docker.ok("images", "-q", "--no-trunc", "small:1") == small.id
    assert docker.ok("run", "--rm", "small:1", "cat", "/greeting") == "hello"


@pytest.mark.parametrize("suffix", ["gz", "xz", "bz2", "zst"])
def test_load_decompresses_the_archive(docker: Docker, small: images.Image, suffix: str) -> None:
    archive = images.docker_archive([small])
    if suffix == "xz":
        data = lzma.compress(archive, preset=0)
    elif suffix == "zst":
        zstandard = pytest.importorskip("zstandard")
        data = zstandard.ZstdCompressor().compress(archive)
    else:
        tool = {"gz": "gzip", "bz2": "bzip2"}[suffix]
        data = subprocess.run([tool, "-1", "-c"], input=archive, check=True, capture_output=True).stdout
    assert docker.ok("load", stdin=data) == "Loaded image: small:1"


def test_p90_load_several_images_and_untagged_ones(docker: Docker, small: images.Image, busybox_layer: bytes) -> None:
    nameless = images.Image([], [busybox_layer], {"Labels": {"no": "name"}})
    lines = docker.ok("load", stdin=images.docker_archive([small, nameless])).splitlines()
    assert {"Loaded image: small:1", f"Loaded image ID: {nameless.id}"} <= set(lines)


def test_p91_load_takes_partial_archives(docker: Docker, small: images.Image, busybox_layer: bytes) -> None:
    partial = images.docker_archive([small], without_layers=[images.sha256(busybox_layer)])
    assert docker.ok("load", stdin=partial) == "Loaded image: small:1"
    assert docker.ok("run", "--rm", "small:1", "cat", "/greeting") == "hello"


def test_load_refuses_what_is_no_archive(docker: Docker, tmp_path: Path) -> None:
    assert docker("load", stdin=b"no tar at all" * 100).code == 1
    assert docker.fails("load", "-i", str(tmp_path / "absent")).startswith("open ")


def test_a_layer_cannot_leave_its_place(docker: Docker, busybox_layer: bytes, tmp_path: Path) -> None:
    evil = images.layer(images.entry("../../../../escaped", b"x"))
    docker("load", stdin=images.docker_archive([images.Image(["evil:1"], [busybox_layer, evil])]))
    assert not list(Path("/").glob("escaped")) and not list(tmp_path.parent.rglob("escaped"))
    assert "evil" not in docker.ok("images")


def test_a_link_in_a_layer_is_not_followed_out_of_it(docker: Docker, busybox_layer: bytes, tmp_path: Path) -> None:
    target = tmp_path / "host"
    target.mkdir()
    evil = images.layer(images.entry("out", kind=tarfile.SYMTYPE, link=str(target)), images.entry("out/escaped", b"x"))
    docker("load", stdin=images.docker_archive([images.Image(["evil:1"], [busybox_layer, evil])]))
    assert list(target.iterdir()) == []


def test_whiteouts_and_opaque_directories(docker: Docker, busybox_layer: bytes) -> None:
    first = images.layer(
        images.entry("keep", b"1"),
        images.entry("gone", b"1"),
        images.entry("dir", mode=0o755),
        images.entry("dir/old", b"1"),
    )
    second = images.layer(
        images.entry(".wh.gone", b""),
        images.entry("dir", mode=0o755),
        images.entry("dir/.wh..wh..opq", b""),
        images.entry("dir/new", b"2"),
    )
    docker.ok("load", stdin=images.docker_archive([images.Image(["w:1"], [busybox_layer, first, second])]))
    assert docker.ok("run", "--rm", "w:1", "sh", "-c", "ls /dir /keep /gone 2>&1; true").splitlines() == [
        "ls: /gone: No such file or directory",
        "/keep",
        "",
        "/dir:",
        "new",
    ]


def test_everything_a_layer_can_hold(docker: Docker, busybox_layer: bytes) -> None:
    """Hard links, setuid bits, owners, devices, fifos, times and extended attributes arrive as they were packed."""
    top = images.layer(
        images.entry("file", b"data", uid=12, gid=34, mode=0o4755),
        images.entry("same", kind=tarfile.LNKTYPE, link="file", uid=12, gid=34, mode=0o4755),
        images.entry("null", kind=tarfile.CHRTYPE, device=(1, 3), mode=0o666),
        images.entry("fifo", kind=tarfile.FIFOTYPE),
        images.entry("capable", b"x", mode=0o755, xattrs={"user.colour": "red"}),
    )
    docker.ok("load", stdin=images.docker_archive([images.Image(["all:1"], [busybox_layer, top])]))
    script = "stat -c '%n %a %u %g %h %F %Y' /file /same; stat -c '%n %F %t,%T' /null; stat -c '%n %F' /fifo"
    assert docker.ok("run", "--rm", "all:1", "sh", "-c", script).splitlines() == [
        "/file 4755 12 34 2 regular file 1700000000",
        "/same 4755 12 34 2 regular file 1700000000",
        "/null character special file 1,3",
        "/fifo fifo",
    ]
    python = "import os; print(os.getxattr('/capable', 'user.colour').decode())"
    assert docker.ok("run", "--rm", "-v", "/usr:/usr:ro", "all:1", "/usr/bin/python3", "-c", python) == "red"


def test_p112_many_layers(docker: Docker, busybox_layer: bytes) -> None:
    layers = [images.layer(images.entry(f"layer-{n}", str(n).encode())) for n in range(120)]
    docker.ok("load", stdin=images.docker_archive([images.Image(["deep:1"], [busybox_layer, *layers])]))
    assert docker.ok("run", "--rm", "deep:1", "cat", "/layer-0", "/layer-64", "/layer-119") == "064119"


def test_save_and_load_give_the_same_image(docker: Docker, small: images.Image, tmp_path: Path) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))
    archive = save(docker, tmp_path, "small:1")
    docker.ok("rmi", "small:1")
    assert docker.ok("load", stdin=archive) == "Loaded image: small:1"
    assert docker.ok("images", "-q", "--no-trunc", "small:1") == small.id


def test_p92_saved_archives_are_oci_layouts_with_a_manifest(
    docker: Docker, small: images.Image, tmp_path: Path
) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))
    docker.ok("tag", "small:1", "example.org/other/name:2")
    files = members(save(docker, tmp_path, "small:1", "example.org/other/name:2"))
    manifest = json.loads(files["manifest.json"])
    assert [(m["Config"], sorted(m["RepoTags"])) for m in manifest] == [
        (f"blobs/sha256/{small.id[7:]}", ["example.org/other/name:2", "small:1"])
    ]
    assert [images.sha256(files[path]) for path in manifest[0]["Layers"]] == [
        images.sha256(data) for data in small.layers
    ]
    assert json.loads(files["oci-layout"]) == {"imageLayoutVersion": "1.0.0"}
    for descriptor in json.loads(files["index.json"])["manifests"]:
        assert images.sha256(files["blobs/sha256/" + descriptor["digest"][7:]]) == descriptor["digest"][7:]
    assert json.loads(files["repositories"]).keys() == {"small", "example.org/other/name"}


def test_save_to_standard_output_and_of_missing_images(docker: Docker, tmp_path: Path) -> None:
    done = subprocess.run([docker.cli, "save", "busybox"], env=docker.env, capture_output=True, check=True)
    assert "manifest.json" in members(done.stdout)
    assert (
        docker.fails("save", "-o", str(tmp_path / "x.tar"), "absent:1")
        == "Error response from daemon: reference does not exist"
    )


def test_import_from_file_and_stdin(docker: Docker, busybox_layer: bytes, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(busybox_layer)
    image_id = docker.ok("import", str(tmp_path / "root.tar"), "imported:file")
    assert image_id.startswith("sha256:") and len(image_id) == 71
    changes = [
        "-c",
        'CMD ["echo","from cmd"]',
        "-c",
        "ENV A=b",
        "-c",
        "WORKDIR /tmp",
        "-c",
        "LABEL x=y",
        "-m",
        "the message",
    ]
    docker.ok("import", *changes, "-", "imported:stdin", stdin=busybox_layer)
    document = json.loads(docker.ok("image", "inspect", "imported:stdin"))[0]
    assert document["Comment"] == "the message"
    assert document["Config"]["Cmd"] == ["echo", "from cmd"]
    assert document["Config"]["Env"] == ["A=b"]
    assert (document["Config"]["WorkingDir"], document["Config"]["Labels"]) == ("/tmp", {"x": "y"})
    assert docker.ok("run", "--rm", "-e", "PATH=/bin", "imported:stdin") == "from cmd"


def test_import_without_a_name_and_with_a_bad_one(docker: Docker, busybox_layer: bytes) -> None:
    image_id = docker.ok("import", "-", stdin=busybox_layer)
    assert docker.ok("image", "inspect", "-f", "{{.RepoTags}}", image_id) == "[]"
    result = docker("import", "-", "Bad:Name", stdin=busybox_layer)
    assert result.code == 1
    assert result.err.strip() == "invalid reference format: repository name (library/Bad) must be lowercase"


def test_tag(docker: Docker) -> None:
    docker.ok("tag", "busybox", "example.org:5000/team/box:v1")
    docker.ok("tag", "busybox", "plain")
    names = docker.ok("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    assert {"example.org:5000/team/box:v1", "plain:latest"} <= set(names)
    assert "No such image: absent:latest" in docker.fails("tag", "absent", "x")
    assert docker.fails("tag", "busybox", "UPPER") == (
        'Error parsing reference: "UPPER" is not a valid repository/tag: invalid reference format: repository '
        "name (library/UPPER) must be"
        " lowercase"
    )


def test_rmi_untags_then_deletes(docker: Docker, small: images.Image) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))
    docker.ok("tag", "small:1", "small:2")
    assert docker.ok("rmi", "small:2") == "Untagged: small:2"
    lines = docker.ok("rmi", "small:1").splitlines()
    assert lines[:2] == ["Untagged: small:1", f"Deleted: {small.id}"]
    assert docker.fails("image", "inspect", "small:1") == "Error response from daemon: No such image: small:1"


def test_rmi_by_id(docker: Docker, small: images.Image) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))
    docker.ok("tag", "small:1", "other/small:2")
    short = small.id[7:19]
    assert docker.fails("rmi", short) == (
        f"Error response from daemon: conflict: unable to delete {short} (must be forced) - image is referenced "
        "in multiple repositories"
    )
    lines = docker.ok("rmi", "-f", short).splitlines()
    assert sorted(lines[:2]) == ["Untagged: other/small:2", "Untagged: small:1"] and f"Deleted: {small.id}" in lines


def test_p11_rmi_of_an_image_in_use(docker: Docker, small: images.Image, name: str) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))
    container = docker.ok("create", "--name", name, "small:1")
    assert docker.fails("rmi", "small:1") == (
        'Error response from daemon: conflict: unable to remove repository reference "small:1" (must force) - '
        f"container {container[:12]}"
        f" is using its referenced image {small.id[7:19]}"
    )
    assert docker.fails("rmi", small.id) == (
        f"Error response from daemon: conflict: unable to delete {small.id[7:19]} (must be forced) - image is "
        "being used by stopped"
        f" container {container[:12]}"
    )
    assert "Untagged: small:1" in docker.ok("rmi", "-f", "small:1").splitlines()


def test_rmi_of_a_running_containers_image_is_refused_even_by_force(docker: Docker, small: images.Image) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))
    container = docker.ok("run", "-d", "--init", "small:1", "sleep", "100")
    assert docker.fails("rmi", "-f", small.id) == (
        f"Error response from daemon: conflict: unable to delete {small.id[7:19]} (cannot be forced) - image is "
        "being used by running"
        f" container {container[:12]}"
    )


def test_images_filters(docker: Docker, small: images.Image) -> None:
    docker.ok("load", stdin=images.docker_archive([small]))

    def listed(*filters: str) -> list[str]:
        flags = [part for text in filters for part in ("--filter", text)]
        return sorted(docker.ok("images", "--format", "{{.Repository}}:{{.Tag}}", *flags).split())

    assert listed("label=a=b") == ["small:1"]
    assert listed("label=a", "label=origin") == []
    assert listed("reference=small") == ["small:1"]
    assert listed("reference=s*:*") == ["small:1"]
    assert listed("reference=absent") == []
    assert listed("before=small:1") == [] and listed("since=small:1") == []
    assert listed("dangling=true") == []
    assert "invalid filter 'nonsense'" in docker.fails("images", "--filter", "nonsense=1")


def test_dangling_images(docker: Docker, busybox_layer: bytes) -> None:
    for content in (b"1", b"2"):
        image = images.Image(["same:name"], [busybox_layer, images.layer(images.entry("f", content))])
        docker.ok("load", stdin=images.docker_archive([image]))
    assert len(docker.ok("images", "-q", "--filter", "dangling=true").split()) == 1
    assert "<none>" in docker.ok("images")
    assert "deleted: sha256:" in docker.ok("image", "prune", "-f")
    assert docker.ok("images", "-q", "--filter", "dangling=true") == ""


def test_p86_p88_image_list_document(api: Api, base_images: list[images.Image]) -> None:
    summary = next(i for i in api.json("/images/json") if i["RepoTags"] == ["busybox:latest"])
    assert summary["Id"] == base_images[0].id
    assert summary["SharedSize"] == -1
    assert isinstance(summary["Created"], int)
    assert summary["Size"] > 1_000_000
    assert summary["RepoDigests"] == []
    assert "Manifests" not in summary


def test_p87_image_inspect_document(api: Api, base_images: list[images.Image]) -> None:
    document = api.json("/images/rich:1/json")
    assert document["Id"] == base_images[1].id
    assert document["RepoTags"] == ["rich:1"] and document["RepoDigests"] == []
    assert document["RootFS"] == {
        "Type": "layers",
        "Layers": ["sha256:" + images.sha256(data) for data in base_images[1].layers],
    }
    assert (document["Architecture"], document["Os"]) == ("amd64", "linux")
    assert document["Created"] == "2024-01-02T03:04:05Z"
    config = document["Config"]
    assert config["User"] == "app" and config["WorkingDir"] == "/work" and config["StopSignal"] == "SIGINT"
    assert config["ExposedPorts"] == {"8080/tcp": {}} and config["Volumes"] == {"/data": {}}
    assert config["Entrypoint"] == ["/bin/echo", "entry"] and config["Cmd"] == ["cmd"]
    assert document["GraphDriver"]["Name"] == "overlay2"


def test_history(docker: Docker, api: Api) -> None:
    rows = api.json("/images/rich:1/history")
    assert [row["CreatedBy"] for row in rows] == ["ADD layer 1", "ADD layer 0"]
    assert rows[0]["Tags"] == ["rich:1"] and rows[1]["Id"] == "<missing>"
    assert isinstance(rows[0]["Created"], int)
    assert "ADD layer 1" in docker.ok("history", "rich:1")


def test_images_are_found_by_every_reference(docker: Docker, base_images: list[images.Image]) -> None:
    image_id = base_images[0].id
    for reference in (
        "busybox",
        "busybox:latest",
        "docker.io/library/busybox",
        "library/busybox",
        image_id,
        image_id[7:],
        image_id[7:19],
    ):
        assert docker.ok("image", "inspect", "-f", "{{.Id}}", reference) == image_id, reference


def test_p8_missing_image_text(api: Api) -> None:
    answer = api.get("/images/absent:1/json")
    assert (answer.status, answer.message) == (404, "No such image: absent:1")


@pytest.mark.skipif(ON_DOCKERD, reason="it wants a manifest.json, which umoci does not write")
def test_umoci_unpacks_what_was_saved_and_the_other_way(docker: Docker, tmp_path: Path, busybox_layer: bytes) -> None:
    def umoci(*args: str) -> str:
        return subprocess.run(["umoci", *args], check=True, capture_output=True, text=True).stdout

    layout, bundle = tmp_path / "layout", tmp_path / "bundle"
    own = images.layer(images.entry("own", b"ours"))
    docker.ok("load", stdin=images.docker_archive([images.Image(["um:1"], [busybox_layer, own])]))
    docker.ok("save", "-o", str(tmp_path / "saved.tar"), "um:1")
    layout.mkdir()
    subprocess.run(["tar", "-C", str(layout), "-xf", str(tmp_path / "saved.tar")], check=True)
    assert umoci("list", "--layout", str(layout)).split() == ["1"]
    umoci("unpack", "--image", f"{layout}:1", str(bundle))
    assert (bundle / "rootfs/own").read_text() == "ours"
    (bundle / "rootfs/own").unlink()
    (bundle / "rootfs/theirs").write_text("theirs")
    umoci("repack", "--image", f"{layout}:2", str(bundle))
    umoci("rm", "--image", f"{layout}:1")
    (layout / "manifest.json").unlink()
    made = tmp_path / "made.tar"
    subprocess.run(["tar", "-C", str(layout), "-cf", str(made), "."], check=True)
    loaded = docker.ok("load", "-i", str(made)).rpartition(" ")[2]
    assert docker.ok("run", "--rm", loaded, "sh", "-c", "cat /theirs; ls /own 2>/dev/null || echo gone") == "theirsgone"
    docker.ok("rmi", loaded)
