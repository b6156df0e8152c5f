"""`docker build` without BuildKit (`POST /build`): what the CLI shows, what Dockerfiles come to, what is refused."""

from __future__ import annotations

import base64
import bz2
import gzip
import io
import json
import lzma
import os
import tarfile
import threading
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import docker as docker_py
import pytest
from docker.errors import BuildError
from harness.docker import Docker, Result
from harness.engine import ON_DOCKERD
from harness.http import Api, UnixConnection
from harness.waiting import wait_for as wait_until

CLASSIC = {"DOCKER_BUILDKIT": "0"}
TAR = {"Content-Type": "application/x-tar"}
# docker-py leaves the sockets of streams to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def write(directory: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return directory


def attempt(docker: Docker, *args: str, stdin: str | bytes | None = None) -> Result:
    return docker("build", *args, stdin=stdin, env=CLASSIC)


def build(docker: Docker, *args: str, stdin: str | bytes | None = None) -> str:
    result = attempt(docker, *args, stdin=stdin)
    assert result.code == 0, result
    return result.out


def run(docker: Docker, image: str, command: str) -> str:
    return docker.ok("run", "--rm", "--entrypoint", "", image, "sh", "-c", command)


def config(docker: Docker, image: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(docker.ok("image", "inspect", image))[0]["Config"]
    return found


def archive(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def post(api: Api, files: dict[str, bytes], **query: str) -> tuple[int, list[dict[str, Any]]]:
    """The status, and the messages or the one error."""
    answer = api.post(f"/build?{urlencode(query)}", raw=archive(files), headers=TAR)
    return answer.status, [json.loads(line) for line in answer.body.splitlines() if line]


def test_steps_are_told_and_cached_the_next_time(docker: Docker, name: str, tmp_path: Path) -> None:
    dockerfile = f"FROM busybox\nRUN echo out {name}; echo oops >&2\nENV A={name}\nCOPY file /copied\nCMD cat /copied\n"
    directory = write(tmp_path, {"Dockerfile": dockerfile, "file": "content\n"})
    told = build(docker, "-t", name, str(directory))
    for line in (
        "Step 1/5 : FROM busybox\n ---> ", f"Step 3/5 : ENV A={name}\n", "Step 4/5 : COPY file /copied\n ---> ",
        f"Step 2/5 : RUN echo out {name}; echo oops >&2\n ---> Running in ", f"out {name}\n", "oops\n",
        " ---> Removed intermediate container ", "Step 5/5 : CMD cat /copied\n", "\nSuccessfully built ",
        f"\nSuccessfully tagged {name}:latest",
    ):  # fmt: skip
        assert line in told, told
    assert "Using cache" not in told
    id = docker.ok("image", "inspect", "-f", "{{.Id}}", name)
    assert f"Successfully built {id[7:19]}\n" in told
    assert docker.ok("run", "--rm", name) == "content"
    again = build(docker, "-t", name, str(directory))
    assert again.count(" ---> Using cache\n") == 4
    assert docker.ok("image", "inspect", "-f", "{{.Id}}", name) == id
    (directory / "file").write_text("changed\n")
    assert build(docker, "-t", name, str(directory)).count(" ---> Using cache\n") == 2
    assert docker.ok("run", "--rm", name) == "changed"
    assert "Using cache" not in build(docker, "--no-cache", "-t", name, str(directory))


def test_stages_arguments_and_labels(docker: Docker, name: str, tmp_path: Path) -> None:
    dockerfile = """\
ARG BASE=missing
ARG TAG=latest
FROM ${BASE}:${TAG} AS maker
ARG VERSION=1
ARG COLOUR
RUN echo "$VERSION $COLOUR ${NONE:-none}" > /made
FROM busybox AS unused
RUN echo unused
FROM maker AS copier
RUN cp /made /copied; echo more >> /copied
FROM busybox
COPY --from=copier /copied /a
COPY --from=0 /made /b/
LABEL from=file
"""
    directory = write(tmp_path, {"Dockerfile": dockerfile})
    flags = ("--build-arg", "BASE=busybox", "--build-arg", "COLOUR=red", "--build-arg", "EXTRA=1", "--label", "by=test")
    told = build(docker, "-t", name, *flags, str(directory))
    assert "[Warning] One or more build-args [EXTRA] were not consumed" in told
    assert run(docker, name, "cat /a /b/made") == "1 red none\nmore\n1 red none"
    assert config(docker, name)["Labels"] == {"from": "file", "by": "test"}
    build(docker, "-t", f"{name}-maker", "--target", "maker", *flags[:2], "--build-arg", "VERSION=7", str(directory))
    assert run(docker, f"{name}-maker", "cat /made; ls /a 2>&1 | head -c 3") == "7  none\nls:"


def test_what_instructions_leave_in_the_configuration(docker: Docker, name: str, tmp_path: Path) -> None:
    dockerfile = """\
# escape=`
FROM busybox
MAINTAINER somebody
ENV ONE=1 TWO="a `
b" THREE=$HOME
ENV old style value
LABEL a=$ONE "b c"='$ONE'
WORKDIR /work
WORKDIR sub
EXPOSE 80 53/udp
VOLUME ["/data", "/more"]
STOPSIGNAL SIGUSR1
HEALTHCHECK --interval=5s --retries=2 CMD true
ONBUILD RUN echo triggered
USER 10:20
SHELL ["/bin/sh", "-ec"]
RUN pwd; id -u; id -g
CMD echo $ONE
ENTRYPOINT ["/bin/sh", "-c"]
"""
    told = build(docker, "-t", name, str(write(tmp_path, {"Dockerfile": dockerfile})))
    assert "\n/work/sub\n10\n20\n" in told
    found = config(docker, name)
    assert found["Env"][1:] == ["ONE=1", "TWO=a b", "THREE=", "old=style value"]
    assert found["Labels"] == {"a": "1", "b c": "$ONE"}
    assert (found["WorkingDir"], found["User"], found["StopSignal"]) == ("/work/sub", "10:20", "SIGUSR1")
    assert (set(found["ExposedPorts"]), set(found["Volumes"])) == ({"80/tcp", "53/udp"}, {"/data", "/more"})
    assert found["Healthcheck"] == {"Test": ["CMD-SHELL", "true"], "Interval": 5_000_000_000, "Retries": 2}
    assert found["OnBuild"] == ["RUN echo triggered"]
    assert (found["Shell"], found["Entrypoint"]) == (["/bin/sh", "-ec"], ["/bin/sh", "-c"])
    assert found["Cmd"] == ["/bin/sh", "-ec", "echo $ONE"]


def test_triggers_run_in_the_next_build(docker: Docker, name: str, tmp_path: Path) -> None:
    base = write(
        tmp_path / "base", {"Dockerfile": "FROM busybox\nONBUILD COPY app /app\nONBUILD RUN cat /app > /ran\n"}
    )
    build(docker, "-t", f"{name}-base", str(base))
    user = write(tmp_path / "user", {"Dockerfile": f"FROM {name}-base\nRUN cat /ran >> /app\n", "app": "x\n"})
    told = build(docker, "-t", name, str(user))
    assert "# Executing 2 build triggers" in told
    assert run(docker, name, "cat /app") == "x\nx"
    assert not config(docker, name).get("OnBuild")


def test_files_that_are_copied(docker: Docker, name: str, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        member = tarfile.TarInfo("inside/file")
        member.size = 6
        tar.addfile(member, io.BytesIO(b"packed"))
    dockerfile = """\
FROM busybox
RUN mkdir -p /etc /there; echo 'ann:x:1001:1002::/:/bin/sh' >> /etc/passwd; echo 'grp:x:1003:' >> /etc/group
COPY one.txt two.txt /plain/
COPY *.txt /wild/
COPY dir /contents
COPY dir/sub /into/sub
COPY one.txt /renamed
COPY one.txt there/
COPY ["with space", "/space/"]
COPY --chown=ann:grp one.txt /owned
COPY --chown=7:8 dir /numbers
ADD packed.tgz /unpacked
COPY packed.tgz /kept/
COPY link /links/
COPY . /all
"""
    files: dict[str, str | bytes] = {
        "Dockerfile": dockerfile, "one.txt": "1", "two.txt": "2", "dir/a": "a", "dir/sub/b": "b", "with space": "s",
        "packed.tgz": packed.getvalue(), "secret.key": "k", "logs/x.log": "l", "logs/keep.log": "l",
        ".dockerignore": "*.key\nlogs/*\n!logs/keep.log\nDockerfile\n",
    }  # fmt: skip
    directory = write(tmp_path, files)
    (directory / "link").symlink_to("one.txt")
    (directory / "two.txt").chmod(0o751)
    build(docker, "-t", name, str(directory))
    listing = "for f in /plain/* /wild/* /contents/a /contents/sub/b /into/sub/b /renamed /there/one.txt /space/*"
    assert run(docker, name, f"{listing}; do echo $f $(cat \"$f\"); done").splitlines() == [
        "/plain/one.txt 1", "/plain/two.txt 2", "/wild/one.txt 1", "/wild/two.txt 2", "/contents/a a",
        "/contents/sub/b b", "/into/sub/b b", "/renamed 1", "/there/one.txt 1", "/space/with space s",
    ]  # fmt: skip
    owners = "stat -c %u:%g:%a /owned /numbers /numbers/a /plain/two.txt"
    assert run(docker, name, owners).split() == ["1001:1003:644", "7:8:755", "7:8:644", "0:0:751"]
    assert run(docker, name, "cat /unpacked/inside/file; ls /kept; cat /links/link") == "packedpacked.tgz\n1"
    everything = run(docker, name, "cd /all; find . -type f | sort").split()
    assert "./logs/keep.log" in everything
    assert not {"./secret.key", "./logs/x.log", "./Dockerfile"} & set(everything)


@pytest.mark.parametrize(
    ("dockerfile", "code", "message"),
    [
        ("FROM busybox\nRUN id; exit 3\n", 3, "The command '/bin/sh -c id; exit 3' returned a non-zero code: 3"),
        ('FROM busybox\nRUN ["sh", "-c", "exit 4"]\n', 4, "The command 'sh -c exit 4' returned a non-zero code: 4"),
        ("FROM busybox\nCOPY absent /\n", 1,
         "COPY failed: file not found in build context or excluded by .dockerignore: stat absent: file does not exist"),
        ("FROM busybox\nADD ../absent /\n", 1, "ADD failed: forbidden path outside the build context: ../absent ()"),
        ("FROM busybox\nFORM x\n", 1,
         "dockerfile parse error on line 2: unknown instruction: FORM (did you mean FROM?)"),
        ("FROM busybox\nENV A\n", 1, "failed to parse Dockerfile: ENV must have two arguments"),
        ("RUN true\n", 1, "no build stage in current context"),
        ("# nothing\n", 1, "failed to parse Dockerfile: file with no instructions"),
    ],
)  # fmt: skip
def test_failures(docker: Docker, name: str, tmp_path: Path, dockerfile: str, code: int, message: str) -> None:
    result = attempt(docker, "-t", name, str(write(tmp_path, {"Dockerfile": dockerfile})))
    assert (result.code, message in result.err) == (code, True), result
    assert "Successfully" not in result.out
    assert docker("image", "inspect", name).code == 1


def test_quiet_builds(docker: Docker, name: str, tmp_path: Path) -> None:
    directory = str(
        write(tmp_path, {"Dockerfile": f"FROM busybox\nRUN echo {name}\n", "bad": "FROM busybox\nRUN false\n"})
    )
    ids = tmp_path / "ids"
    id = build(docker, "-q", "-t", name, "--iidfile", str(ids), directory).strip()
    assert id == docker.ok("image", "inspect", "-f", "{{.Id}}", name) == ids.read_text().strip()
    failed = attempt(docker, "-q", "-f", str(tmp_path / "bad"), directory)
    assert failed.code == 1
    assert "Step 2/2 : RUN false" in failed.out + failed.err


def test_a_dockerfile_by_another_name_or_from_standard_input(docker: Docker, name: str, tmp_path: Path) -> None:
    directory = write(tmp_path / "ctx", {"sub/Other": "FROM busybox\nCOPY here /\n", "here": "h"})
    outside = write(tmp_path / "out", {"File": "FROM busybox\nCOPY here /outside\n"})
    build(docker, "-t", f"{name}a", "-f", str(directory / "sub/Other"), str(directory))
    assert run(docker, f"{name}a", "cat /here") == "h"
    build(docker, "-t", f"{name}b", "-f", str(outside / "File"), str(directory))
    assert run(docker, f"{name}b", "cat /outside") == "h"
    build(docker, "-t", f"{name}c", "-", stdin="FROM busybox\nRUN echo alone > /c\n")
    assert run(docker, f"{name}c", "cat /c") == "alone"


@pytest.mark.parametrize("compress", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_contexts_from_standard_input(docker: Docker, name: str, compress: Any) -> None:
    data = archive({"Dockerfile": b"FROM busybox\nCOPY dir /d\n", "dir/x": b"content"})
    build(docker, "-t", name, "-", stdin=compress(data))
    assert run(docker, name, "cat /d/x") == "content"


def test_commands_have_the_networks_and_limits_that_are_asked_for(docker: Docker, name: str, tmp_path: Path) -> None:
    dockerfile = (
        f"FROM busybox\nRUN echo {name}; ls /sys/class/net | tr '\\n' ' '; ulimit -n; df -k /dev/shm | tail -1\n"
        "RUN grep some.host /etc/hosts\n"
    )
    directory = str(write(tmp_path, {"Dockerfile": dockerfile}))
    flags = ("--network", "none", "--ulimit", "nofile=321:321", "--shm-size", "8m", "--add-host", "some.host:1.2.3.4")
    told = build(docker, *flags, "--memory", "200m", directory)
    assert "lo 321\n" in told
    assert " 8192 " in told
    assert "1.2.3.4\tsome.host" in told


def test_neighbours_in_a_network_are_found_by_name(docker: Docker, sleeper: Any, name: str, tmp_path: Path) -> None:
    docker.ok("network", "create", f"{name}-net")
    sleeper("--network", f"{name}-net", "--name", f"{name}-peer")
    directory = write(tmp_path, {"Dockerfile": f"FROM busybox\nRUN ping -c1 {name}-peer\n"})
    assert "1 packets received" in build(docker, "--network", f"{name}-net", str(directory))


def test_proxies_reach_commands_and_stay_out_of_the_image(docker: Docker, name: str) -> None:
    dockerfile = "FROM busybox\nRUN env | grep -i ftp_proxy > /seen\n"
    build(docker, "-t", name, "--build-arg", "FTP_PROXY=somewhere", "-", stdin=dockerfile)
    assert "FTP_PROXY=somewhere" in run(docker, name, "cat /seen")
    assert "somewhere" not in docker.ok("history", "--no-trunc", name) + str(config(docker, name))


def test_messages_of_the_api(api: Api, name: str) -> None:
    status, messages = post(api, {"Dockerfile": f"FROM busybox\nRUN echo {name} >&2\n".encode()}, t=f"{name}:x")
    assert status == 200
    streams = [message.get("stream") for message in messages]
    assert streams[:3] == ["Step 1/2 : FROM busybox", "\n", streams[2]]
    assert f"\x1b[91m{name}\n\x1b[0m" in streams
    (aux,) = [message["aux"] for message in messages if "aux" in message]
    assert streams[-2:] == [f"Successfully built {aux['ID'][7:19]}\n", f"Successfully tagged {name}:x\n"]


def test_the_error_is_the_last_message(api: Api) -> None:
    status, messages = post(api, {"Dockerfile": b"FROM busybox\nRUN exit 5\n"})
    message = "The command '/bin/sh -c exit 5' returned a non-zero code: 5"
    assert status == 200
    assert messages[-1] == {"errorDetail": {"code": 5, "message": message}, "error": message}


def test_version_2_is_told_in_buildkits_terms(api: Api, docker: Docker, name: str) -> None:
    dockerfile = f"FROM busybox\nCOPY <<E file /\n{name}\nE\nRUN --mount=type=tmpfs,target=/x cat /E /file > /both\n"
    status, messages = post(api, {"Dockerfile": dockerfile.encode(), "file": b"f"}, version="2", t=name)
    assert status == 200
    assert {message["id"] for message in messages[:-1]} == {"moby.buildkit.trace"}
    told = b"".join(base64.b64decode(message["aux"]) for message in messages[:-1])
    assert b"RUN --mount=type=tmpfs,target=/x cat /E /file > /both" in told
    id = docker.ok("image", "inspect", "-f", "{{.Id}}", name)
    assert messages[-1] == {"id": "moby.image.id", "aux": {"ID": id}}
    assert run(docker, name, "cat /both") == f"{name}\nf"
    _, messages = post(api, {"Dockerfile": b"FROM busybox\nRUN exit 6\n"}, version="2")
    assert messages[-1]["error"] == 'process "/bin/sh -c exit 6" did not complete successfully: exit code: 6'


@pytest.mark.parametrize(
    ("query", "status", "message"),
    [
        ({"dockerfile": "Other"}, 500, "Cannot locate specified Dockerfile: Other"),
        ({"dockerfile": "../Other"}, 500, "forbidden path outside the build context: ../Other ()"),
        ({"t": "UPPER"}, 500, "invalid reference format: repository name (library/UPPER) must be lowercase"),
        ({"target": "absent"}, 400, 'target stage "absent" could not be found'),
        ({"buildargs": "x"}, 400, "error reading build args: invalid character 'x' looking for beginning of value"),
        ({"labels": "x"}, 400, "error reading labels: invalid character 'x' looking for beginning of value"),
        ({"cachefrom": "x"}, 400, "error reading cache-from: invalid character 'x' looking for beginning of value"),
        ({"ulimits": "x"}, 400, "error reading ulimit settings: invalid character 'x' looking for beginning of value"),
        ({"outputs": "x"}, 400, "invalid outputs specified: invalid character 'x' looking for beginning of value"),
        ({"shmsize": "x"}, 500, 'strconv.ParseInt: parsing "x": invalid syntax'),
        ({"version": "3"}, 400, 'invalid version "3"'),
        ({"squash": "1"}, 400, "squash is only supported with experimental mode"),
        ({"isolation": "x"}, 400, 'unsupported isolation: "x"'),
        ({"securityopt": "x"}, 400, "security options are not supported on linux"),
    ],
)  # fmt: skip
def test_refused_parameters(api: Api, query: dict[str, str], status: int, message: str) -> None:
    assert post(api, {"Dockerfile": b"FROM busybox\n"}, **query) == (status, [{"message": message}])


def test_contexts_that_are_none(api: Api) -> None:
    assert post(api, {"Dockerfile": b""}) == (400, [{"message": "the Dockerfile (Dockerfile) cannot be empty"}])
    assert post(api, {"other": b""}) == (500, [{"message": "Cannot locate specified Dockerfile: Dockerfile"}])
    garbage = api.post("/build", raw=b"no archive\n", headers=TAR)
    assert (garbage.status, garbage.message) == (500, "unexpected EOF")


def test_archives_that_escape_write_nothing_outside(api: Api, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("link")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        tar.addfile(link)
        for name in ("link/outside", f"../../../../../../../../..{outside}"):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    api.post("/build", raw=buffer.getvalue(), headers=TAR)
    assert not outside.exists()


def test_a_dockerfile_that_is_a_link_out_of_the_context(api: Api) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        link = tarfile.TarInfo("Dockerfile")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    answer = api.post("/build", raw=buffer.getvalue(), headers=TAR)
    assert answer.status == 500
    assert b"root:" not in answer.body


LONG = str(100_000 + os.getpid())
"""Seconds that only this run's builds sleep."""


def begin(api: Api, name: str, **query: str) -> tuple[UnixConnection, Any]:
    """Start a build that takes long; return once its command runs."""
    connection = UnixConnection(api.socket_path, 30)
    body = archive({"Dockerfile": f"FROM busybox\nRUN echo started {name}; sleep {LONG}\n".encode()})
    connection.request("POST", f"/build?{urlencode(query)}", body=body, headers=TAR)
    response = connection.getresponse()
    while b"started" not in (line := response.readline()) or b"Step" in line:
        assert line
    return connection, response


def running_sleeps() -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except OSError:
            continue
        if words[:2] == [b"sleep", LONG.encode()]:
            found.append(path.parent.name)
    return found


def test_a_client_that_goes_away_ends_its_build(api: Api, name: str) -> None:
    connection, response = begin(api, name, t=name)
    wait_until(lambda: bool(running_sleeps()))
    response.close()
    connection.close()
    wait_until(lambda: not running_sleeps())
    assert api.get(f"/images/{name}/json").status == 404


def test_a_build_is_cancelled_by_its_id(api: Api, name: str) -> None:
    connection, response = begin(api, name, t=name, buildid=name)
    if ON_DOCKERD:
        # dockerd's classic builder knows no ids: only BuildKit's builds can be cancelled so.
        assert api.post(f"/build/cancel?id={name}").status == 200
    else:
        rest: list[bytes] = []
        reader = threading.Thread(target=lambda: rest.append(response.read()))
        reader.start()
        assert api.post(f"/build/cancel?id={name}").status == 200
        reader.join(20)
        assert json.loads(rest[0].splitlines()[-1])["error"] == "Build cancelled: context canceled"
    response.close()
    connection.close()
    wait_until(lambda: not running_sleeps())
    assert api.post("/build/cancel?id=absent").status == 200
    assert api.post("/build/cancel").message == "build ID not provided"


def test_docker_py(client: docker_py.DockerClient, name: str) -> None:
    image, log = client.images.build(
        fileobj=io.BytesIO(b"FROM busybox\nARG A\nRUN echo $A > /a\nCMD cat /a\n"), tag=name, buildargs={"A": "arg"},
        labels={"l": "1"}, nocache=True,
    )  # fmt: skip
    assert (image.tags, image.labels) == ([f"{name}:latest"], {"l": "1"})
    assert any("Successfully built" in part.get("stream", "") for part in log)
    assert client.containers.run(name, remove=True) == b"arg\n"
    with pytest.raises(BuildError) as caught:
        client.images.build(fileobj=io.BytesIO(b"FROM busybox\nRUN echo words; exit 2\n"))
    assert caught.value.msg == "The command '/bin/sh -c echo words; exit 2' returned a non-zero code: 2"
    assert {"stream": "words\n"} in list(caught.value.build_log)


def test_results_of_named_images_are_used(client: docker_py.DockerClient, name: str) -> None:
    dockerfile = f"FROM busybox\nENV A={name}\nRUN echo $A > /a\n".encode()

    def cached(**options: Any) -> int:
        log = client.images.build(fileobj=io.BytesIO(dockerfile), tag=name, **options)[1]
        return sum("Using cache" in part.get("stream", "") for part in log)

    assert [cached(), cached(cache_from=[name]), cached(cache_from=["absent:1"])] == [0, 2, 0]
