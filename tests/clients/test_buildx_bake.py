"""`docker buildx bake`: several targets of one file, one of which may stand on another."""

from __future__ import annotations

from pathlib import Path

import pytest
from harness.docker import Docker

FILE = """\
group "default" { targets = ["app", "tool"] }
variable "WORD" { default = "word" }
target "base" {
  dockerfile-inline = <<EOT
FROM busybox
COPY file /file
RUN echo NAME > /made
ENV KIND=base
EOT
}
target "app" {
  contexts = { base = "target:base" }
  args = { WORD = WORD }
  dockerfile-inline = <<EOT
FROM base
ARG WORD
RUN echo $KIND $WORD $(cat /made) > /app
EOT
  tags = ["NAME:app"]
}
target "tool" {
  contexts = { base = "target:base" }
  dockerfile-inline = <<EOT
FROM busybox
COPY --from=base /made /tool
EOT
  tags = ["NAME:tool"]
}
"""


@pytest.mark.parametrize("generation", ["new", "old"])
def test_targets_stand_on_each_other(docker: Docker, tmp_path: Path, name: str, generation: str) -> None:
    buildx = docker.with_plugins(tmp_path / "client", "buildx", generation=generation)
    file = tmp_path / "docker-bake.hcl"
    file.write_text(FILE.replace("NAME", name).replace('"file"', f'"{tmp_path}/file"'))
    (tmp_path / "file").write_text("content")
    text = file.read_text().replace('target "base" {', f'target "base" {{\n  context = "{tmp_path}"')
    file.write_text(text)
    for _ in range(2):  # cached as a whole, the second time
        baked = buildx("buildx", "bake", "--progress=plain", "-f", str(file), env={"BUILDX_BAKE_ENTITLEMENTS_FS": "0"})
        assert baked.code == 0, baked
        assert buildx.ok("run", "--rm", f"{name}:app", "cat", "/app", "/file") == f"base word {name}\ncontent"
        assert buildx.ok("run", "--rm", f"{name}:tool", "cat", "/tool") == name


def test_what_fails_names_its_target(docker: Docker, tmp_path: Path, name: str) -> None:
    buildx = docker.with_plugins(tmp_path / "client", "buildx")
    file = tmp_path / "docker-bake.hcl"
    file.write_text(f'target "default" {{\n  dockerfile-inline = "FROM busybox\\nRUN echo {name}; exit 3\\n"\n}}\n')
    result = buildx("buildx", "bake", "--progress=plain", "-f", str(file))
    assert result.code == 1
    assert "did not complete successfully: exit code: 3" in result.err
