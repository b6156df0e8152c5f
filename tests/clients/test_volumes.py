"""`docker volume` and what volumes do in containers: copy-up, names, anonymous ones, prune."""

from __future__ import annotations

import json
from pathlib import Path

from harness.docker import Docker
from harness.http import Api


def test_create_inspect_list_remove(docker: Docker, api: Api) -> None:
    assert docker.ok("volume", "create", "--label", "a=b", "vol") == "vol"
    document = json.loads(docker.ok("volume", "inspect", "vol"))[0]
    assert (document["Name"], document["Driver"], document["Scope"], document["Labels"]) == (
        "vol",
        "local",
        "local",
        {"a": "b"},
    )
    assert document["Mountpoint"].endswith("/volumes/vol/_data") and Path(document["Mountpoint"]).is_dir()
    assert document["CreatedAt"].startswith("20")
    assert docker.ok("volume", "ls", "-q") == "vol"
    assert api.json("/volumes")["Volumes"][0]["Name"] == "vol"
    assert docker.ok("volume", "rm", "vol") == "vol"
    assert not Path(document["Mountpoint"]).parent.exists()


def test_p63_create_is_idempotent_and_names_are_optional(api: Api) -> None:
    first, second = api.post("/volumes/create", {"Name": "same"}), api.post("/volumes/create", {"Name": "same"})
    assert first.status == second.status == 201 and first.json()["Name"] == second.json()["Name"] == "same"
    nameless = api.post("/volumes/create", {})
    assert nameless.status == 201 and len(nameless.json()["Name"]) == 64


def test_data_stays(docker: Docker) -> None:
    docker.ok("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "echo kept >/v/file")
    assert docker.ok("run", "--rm", "-v", "vol:/other:ro", "busybox", "cat", "/other/file") == "kept"


def test_p63_copy_up(docker: Docker) -> None:
    """An empty volume takes the image's content with owners and modes; one with content does not."""
    script = "stat -c '%n %a %u %g' /data /data/seed /data/deep/file; cat /data/seed"
    shell = ["--entrypoint", "sh", "-u", "0", "rich:1", "-c"]
    assert docker.ok("run", "--rm", "-v", "vol:/data", *shell, script).splitlines() == [
        "/data 750 1000 50",
        "/data/seed 644 1000 50",
        "/data/deep/file 600 0 0",
        "from the image",
    ]
    docker.ok("run", "--rm", "-v", "vol:/data", *shell, "rm /data/seed; echo mine >/data/mine")
    assert docker.ok("run", "--rm", "-v", "vol:/data", *shell, "ls /data").split() == ["deep", "mine"]


def test_copy_up_can_be_refused(docker: Docker) -> None:
    shell = ["--entrypoint", "ls", "-u", "0", "rich:1", "/data"]
    assert docker.ok("run", "--rm", "-v", "vol:/data:nocopy", *shell) == ""
    assert docker.ok("run", "--rm", "--mount", "type=volume,src=two,dst=/data,volume-nocopy", *shell) == ""


def test_copy_up_of_anonymous_volumes(docker: Docker) -> None:
    assert docker.ok("run", "--rm", "--entrypoint", "cat", "rich:1", "/data/seed") == "from the image"


def test_volume_subpath(docker: Docker) -> None:
    docker.ok("run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "mkdir /v/sub; echo x >/v/sub/file")
    form = "type=volume,src=vol,dst=/m,volume-subpath={}"
    assert docker.ok("run", "--rm", "--mount", form.format("sub"), "busybox", "cat", "/m/file") == "x"
    assert docker("run", "--rm", "--mount", form.format("../.."), "busybox", "true").code == 125
    assert docker("run", "--rm", "--mount", form.format("absent"), "busybox", "true").code in (125, 127)


def test_a_subpath_link_does_not_leave_the_volume(docker: Docker) -> None:
    docker.ok("run", "--rm", "-v", "vol:/v", "busybox", "ln", "-s", "/etc", "/v/out")
    result = docker(
        "run", "--rm", "--mount", "type=volume,src=vol,dst=/m,volume-subpath=out", "busybox", "ls", "/m/passwd"
    )
    assert result.code != 0


def test_in_use(docker: Docker, name: str) -> None:
    container = docker.ok("create", "--name", name, "-v", "vol:/v", "busybox")
    assert docker.fails("volume", "rm", "vol") == (
        f"Error response from daemon: remove vol: volume is in use - [{container}]"
    )
    docker.ok("rm", "-v", name)
    docker.ok("volume", "rm", "vol")


def test_refusals(docker: Docker, api: Api) -> None:
    assert docker.fails("volume", "inspect", "absent").endswith("get absent: no such volume")
    answer = api.delete("/volumes/absent")
    assert (answer.status, answer.message) == (404, "get absent: no such volume")
    assert api.delete("/volumes/absent?force=1").status == 204
    answer = api.post("/volumes/create", {"Name": "bad/name"})
    assert answer.status == 400
    assert answer.message == (
        'create bad/name: "bad/name" includes invalid characters for a local volume name, only '
        '"[a-zA-Z0-9][a-zA-Z0-9_.-]" are allowed. If you'
        " intended to pass a host directory, use absolute path"
    )
    answer = api.post("/volumes/create", {"Name": "x"})
    assert answer.status == 400
    assert answer.message == "create x: volume name is too short, names should be at least two alphanumeric characters"
    answer = api.post("/volumes/create", {"Name": "vol", "DriverOpts": {"nonsense": "1"}})
    assert answer.status == 400 and 'invalid option: "nonsense"' in answer.message


def test_filters(docker: Docker, name: str) -> None:
    docker.ok("volume", "create", "--label", "a=b", "one")
    docker.ok("volume", "create", "two")
    docker.ok("create", "--name", name, "-v", "two:/v", "busybox")

    def names(text: str) -> list[str]:
        return sorted(docker.ok("volume", "ls", "-q", "--filter", text).split())

    assert names("dangling=true") == ["one"] and names("dangling=false") == ["two"]
    assert names("label=a") == ["one"] and names("label=a=c") == []
    assert names("name=tw") == ["two"] and names("driver=local") == ["one", "two"] and names("driver=x") == []
    assert "invalid filter 'nonsense'" in docker.fails("volume", "ls", "--filter", "nonsense=1")


def test_prune(docker: Docker, api: Api, name: str) -> None:
    docker.ok("volume", "create", "named")
    docker.ok("create", "--name", name, "-v", "/anonymous", "busybox")
    docker.ok("create", "--name", f"{name}-2", "-v", "/anonymous", "busybox")
    docker.ok("rm", name)
    report = api.post("/volumes/prune").json()
    assert len(report["VolumesDeleted"]) == 1 and isinstance(report["SpaceReclaimed"], int)
    assert "named" in docker.ok("volume", "ls", "-q").split()
    docker.ok("volume", "prune", "-a", "-f")
    assert len(docker.ok("volume", "ls", "-q").split()) == 1


def test_driver_options(docker: Docker, tmp_path: Path) -> None:
    (tmp_path / "here").write_text("x")
    docker.ok("volume", "create", "-o", "type=none", "-o", "o=bind", "-o", f"device={tmp_path}", "bound")
    assert docker.ok("run", "--rm", "-v", "bound:/v", "busybox", "ls", "/v") == "here"
    docker.ok("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "-o", "o=size=1m", "mem")
    assert "1024" in docker.ok("run", "--rm", "-v", "mem:/v", "busybox", "df", "-k", "/v")
    assert docker.ok("volume", "inspect", "-f", "{{.Options.o}}", "mem") == "size=1m"


def test_two_containers_share_one(docker: Docker) -> None:
    writer = docker.ok("run", "-d", "--init", "-v", "vol:/v", "busybox", "sh", "-c", "echo x >/v/f; sleep 100")
    assert (
        docker.ok(
            "run", "--rm", "-v", "vol:/v", "busybox", "sh", "-c", "until [ -s /v/f ]; do sleep 0.05; done; cat /v/f"
        )
        == "x"
    )
    docker.ok("rm", "-f", writer)
