"""COPY and ADD: where things go, whose they are, and that nothing leads out of either tree; as with BuildKit."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from harness.builds import Machine, Site, context, run
from lightship.engine.build.graph import Copy, InlineFile, MakeDirectory, Owner, Step, WriteFiles

FIND = "cd / && find {} | sort | xargs stat -c '%n %F %a %u %g'"


def fill(folder: Path) -> None:
    (folder / "dir/sub").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "b.log").write_text("b")
    (folder / "dir/c.txt").write_text("c")
    (folder / "dir/sub/d.md").write_text("d")
    (folder / "dir/link").symlink_to("c.txt")
    (folder / "dirlink").symlink_to("dir")
    for path in (folder / "a.txt", folder / "b.log", folder / "dir/c.txt", folder / "dir/sub/d.md"):
        path.chmod(0o640)


@pytest.mark.parametrize(
    ("paths", "destination", "wanted"),
    [
        (("/a.txt",), "/t", ["t"]),
        (("/a.txt",), "/t/", ["t", "t/a.txt"]),
        (("/a.txt", "/b.log"), "/t/", ["t", "t/a.txt", "t/b.log"]),
        (("/dir",), "/t", ["t", "t/c.txt", "t/link", "t/sub", "t/sub/d.md"]),
        (("/dirlink",), "/t", ["t", "t/c.txt", "t/link", "t/sub", "t/sub/d.md"]),
        (("/*.txt",), "/t/", ["t", "t/a.txt"]),
        (("/d*/*.txt",), "/t/", ["t", "t/c.txt"]),
        (("/[ab].*",), "/t/", ["t", "t/a.txt", "t/b.log"]),
        (("/a.txt",), "/tmp/../t/x/", ["t", "t/x", "t/x/a.txt"]),
        (("/dir/link",), "/t/", ["t", "t/link"]),
    ],
)
def test_where_things_go(machine: Machine, paths: tuple[str, ...], destination: str, wanted: list[str]) -> None:
    fill(machine.context)

    async def scenario(site: Site) -> None:
        step = Copy(None, context(), paths, destination, name="COPY")
        await site.build(lambda base: step, exporters=())
        layer = site.engine.snapshots.layer_path(max(site.engine.snapshots.layers(), key=_age(site)))
        assert sorted(str(path.relative_to(layer)) for path in layer.rglob("*")) == wanted

    machine.run(scenario)


def _age(site: Site) -> object:
    return lambda layer: site.engine.snapshots.layers()[layer].number


def test_parents_and_exclude(machine: Machine) -> None:
    fill(machine.context)

    async def scenario(site: Site) -> None:
        def copied(base: Step) -> Step:
            step = Copy(base, context(), ("/dir/sub/d.md", "/a.txt"), "/p/", keeps_parents=True, name="1")
            step = Copy(step, context(), ("/dir/./sub",), "/q/", keeps_parents=True, name="2")
            step = Copy(step, context(), ("/*/*.txt",), "/r/", keeps_parents=True, name="3")
            step = Copy(step, context(), ("/dir",), "/s/", exclude=("sub/*", "!**/d.md", "link"), name="4")
            return run(step, "cd / && find p q r s | sort")

        output = (await site.solve(copied)).output("RUN cd / && find p q r s | sort").decode().split()
        assert output == [
            "p", "p/a.txt", "p/dir", "p/dir/sub", "p/dir/sub/d.md",
            "q", "q/sub", "q/sub/d.md",
            "r", "r/dir", "r/dir/c.txt",
            "s", "s/c.txt", "s/sub", "s/sub/d.md",
        ]  # fmt: skip

    machine.run(scenario)


def test_owners_and_modes(machine: Machine) -> None:
    fill(machine.context)

    async def scenario(site: Site) -> None:
        def copied(base: Step) -> Step:
            step: Step = run(base, "echo other:x:1234:1234::/:/bin/sh >> /etc/passwd; echo crew:x:77: >> /etc/group")
            step = Copy(step, context(), ("/dir",), "/n", owner=Owner("other", "crew"), name="1")
            step = Copy(step, context(), ("/a.txt",), "/i", owner=Owner("7"), mode="4711", name="2")
            step = Copy(step, context(), ("/dir",), "/m", mode="u=rwX,go=rX", name="3")
            step = WriteFiles(step, (InlineFile("x", "text"),), "/w/", owner=Owner("other"), mode="600", name="4")
            step = MakeDirectory(step, "/deep/er", name="5")
            return run(step, FIND.format("n i m w deep"))

        output = (await site.solve(copied)).output(f"RUN {FIND.format('n i m w deep')}").decode().splitlines()
        assert output == [
            "deep directory 755 0 0",
            "deep/er directory 755 0 0",
            "i regular file 4711 7 7",
            "m directory 755 0 0",
            "m/c.txt regular file 644 0 0",
            "m/link symbolic link 777 0 0",
            "m/sub directory 755 0 0",
            "m/sub/d.md regular file 644 0 0",
            "n directory 755 1234 77",
            "n/c.txt regular file 640 1234 77",
            "n/link symbolic link 777 1234 77",
            "n/sub directory 755 1234 77",
            "n/sub/d.md regular file 640 1234 77",
            "w directory 600 1234 1234",
            "w/x regular file 600 1234 1234",
        ]

    machine.run(scenario)


def test_links_lead_nowhere_outside(machine: Machine, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "file").write_text("of the host")
    (machine.context / "out").symlink_to(secret)
    (machine.context / "file").symlink_to(secret / "file")
    (machine.context / "a.txt").write_text("a")

    async def scenario(site: Site) -> None:
        for path in ("/file", "/out", "/out/file", "/../../../../../../../..//etc/passwd"):
            error, _ = await site.fail(lambda base, path=path: Copy(base, context(), (path,), "/x", name="COPY"))
            assert "not found" in str(error)
        for target in (str(secret), "../" * 20 + str(secret)):

            def escaping(base: Step, target: str = target) -> Step:
                step = run(base, f"mkdir -p {secret} && ln -s {target} /escape")
                step = Copy(step, context(), ("/a.txt",), "/escape/", name="COPY")
                return MakeDirectory(step, "/escape/made", name="WORKDIR")

            await site.solve(escaping)
        assert sorted(path.name for path in secret.iterdir()) == ["file"]

    machine.run(scenario)


def test_archives_are_unpacked_inside(machine: Machine, tmp_path: Path) -> None:
    for name, mode in (("plain.tar", "w"), ("small.tgz", "w:gz"), ("other.tbz", "w:bz2"), ("last.txz", "w:xz")):
        with tarfile.open(machine.context / name, mode) as archive:  # type: ignore[call-overload]
            link = tarfile.TarInfo("leaving")
            link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
            archive.addfile(link)
            for member in ("in/file", "leaving/file"):
                entry = tarfile.TarInfo(member)
                entry.size, entry.uid = 4, 33
                archive.addfile(entry, io.BytesIO(b"data"))
    (machine.context / "fake.tar").write_text("no archive")

    async def scenario(site: Site) -> None:
        def added(base: Step) -> Step:
            names = ("/plain.tar", "/small.tgz", "/other.tbz", "/last.txz", "/fake.tar")
            step = base
            for name in names:
                step = Copy(step, context(), (name,), f"/to{name}/", unpacks=True, name=f"ADD {name}")
            return run(step, "cat /to/*/in/file /to/fake.tar/fake.tar; stat -c %u /to/small.tgz/in/file")

        heard = await site.solve(added)
        name = "RUN cat /to/*/in/file /to/fake.tar/fake.tar; stat -c %u /to/small.tgz/in/file"
        assert heard.output(name).decode() == "data" * 4 + "no archive33\n"
        assert list(tmp_path.iterdir()) == []

    machine.run(scenario)


def test_a_linked_copy_knows_nothing_of_its_base(machine: Machine) -> None:
    (machine.context / "a.txt").write_text("a")

    async def scenario(site: Site) -> None:
        def steps(base: Step, command: str) -> Step:
            copied = Copy(run(base, command), context(), ("/a.txt",), "/d/", is_link=True, name="COPY")
            return run(copied, "cat /d/a.txt; ls /")

        heard = await site.solve(lambda base: steps(base, "mkdir /one"))
        assert heard.output("RUN cat /d/a.txt; ls /").startswith(b"a") and b"one" in heard.output(
            "RUN cat /d/a.txt; ls /"
        )
        heard = await site.solve(lambda base: steps(base, "mkdir /two"))
        assert b"two" in heard.output("RUN cat /d/a.txt; ls /") and b"one" not in heard.output("RUN cat /d/a.txt; ls /")

    machine.run(scenario)
