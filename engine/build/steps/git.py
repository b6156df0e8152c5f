"""Git repositories: fetched shallow into a bare one that is kept, checked out into a layer.

git runs without the user's configuration, prompts and helpers, and with the protocols alone that a context may come by.
"""

from __future__ import annotations

import asyncio
import base64
import os
import re
import shutil
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import Mapping
from pathlib import Path

from ... import errors
from ...snapshots.layer import tree_size
from ..cache import GIT
from ..client import Client
from ..context import Context
from ..drafts import draft
from ..flights import Heard
from ..graph import GitSource
from ..keys import key_of
from ..progress import Log
from .local import directory_of, note

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SECRETS = ("GIT_AUTH_TOKEN", "GIT_AUTH_HEADER")
_ENVIRONMENT = {
    "GIT_TERMINAL_PROMPT": "0",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_ALLOW_PROTOCOL": "git:http:https:ssh",
    "GIT_SSH_COMMAND": "ssh -F /dev/null -o BatchMode=yes",
    "LC_ALL": "C",
    "HOME": "/nonexistent",
}


class _Git:
    """Runs git in one repository."""

    def __init__(self, directory: Path, config: Mapping[str, str], heard: Heard | None = None) -> None:
        """`config` goes through the environment, which other users' processes do not see."""
        self._directory, self._heard = directory, heard
        settings = {f"GIT_CONFIG_KEY_{number}": key for number, key in enumerate(config)}
        settings |= {f"GIT_CONFIG_VALUE_{number}": value for number, value in enumerate(config.values())}
        path = os.environ.get("PATH", os.defpath)
        self._env = {**_ENVIRONMENT, **settings, "GIT_CONFIG_COUNT": str(len(config)), "PATH": path}

    async def run(self, *args: str, work_tree: Path | None = None, own: bool = False) -> str:
        """Return what git says. `own`: the other side is a repository of ours. Raises Internal with git's words."""
        env = {**self._env, "GIT_ALLOW_PROTOCOL": "file"} if own else self._env
        tree = ["--work-tree", str(work_tree)] if work_tree is not None else []
        try:
            process = await asyncio.create_subprocess_exec(
                "git", "--git-dir", str(self._directory), *tree, *args,
                stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT,
                env=env, cwd=str(work_tree or "/"),
                start_new_session=True,
            )  # fmt: skip
        except FileNotFoundError:
            raise errors.Internal("failed to find git: executable file not found in $PATH") from None
        try:
            output, _ = await process.communicate()
        except asyncio.CancelledError:
            process.kill()
            await process.wait()
            raise
        text = output.decode("utf-8", "replace")
        if process.returncode:
            if self._heard is not None:
                self._heard(Log("", 2, output))
            raise errors.Internal(f"git stderr:\n{text.strip()}: exit status {process.returncode}")
        return text


async def resolve(context: Context, client: Client, step: GitSource) -> str:
    """Return the commit that a repository's reference stands for now."""
    if _COMMIT.fullmatch(step.ref):
        return step.ref
    git = _Git(context.root / "nowhere", await _config(client, step.url))
    ref = step.ref or "HEAD"
    listed = await git.run("ls-remote", "--", step.url, ref, f"{ref}^{{}}")
    found = {name: commit for commit, tab, name in (line.partition("\t") for line in listed.splitlines()) if tab}
    for name in (f"refs/heads/{ref}", f"refs/tags/{ref}^{{}}", f"refs/tags/{ref}", f"{ref}^{{}}", ref):
        if name in found:
            return _checked(step, found[name])
    raise errors.NotFound(f"repository does not contain ref {ref}, output: {listed!r}")


def _checked(step: GitSource, commit: str) -> str:
    if step.checksum and not commit.startswith(step.checksum):
        raise errors.InvalidArgument(f"expected checksum to match {step.checksum}, got {commit}")
    return commit


async def check_out(context: Context, client: Client, step: GitSource, key: str, heard: Heard) -> None:
    """Make a layer of the files of a commit."""
    commit = await resolve(context, client, step)
    config = await _config(client, step.url)
    repository_key = key_of("git repository", step.url)
    directory = directory_of(context, repository_key)
    lock = context.cache_mount_locks.setdefault(repository_key, asyncio.Lock())
    async with lock, draft(context, ()) as made:
        git = _Git(directory, config, heard)
        if not directory.exists():
            directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            await git.run("init", "--quiet", "--bare")
            await git.run("config", "uploadpack.allowAnySHA1InWant", "true")
        await _fetch(git, step)
        target = made.directory
        tree = target
        if step.keep_git_dir or step.subdir or step.submodules:
            tree = context.root / "temporary" / made.id
            tree.mkdir(parents=True)
        try:
            await _export(git, step, commit, config, directory, tree, heard)
            if tree != target:
                await asyncio.to_thread(_move, tree, target, step)
        finally:
            if tree != target:
                await asyncio.to_thread(shutil.rmtree, tree, ignore_errors=True)
        size = await asyncio.to_thread(tree_size, str(target))
        await made.keep(key, below=(), size=size, description=step.name)
        used = await asyncio.to_thread(tree_size, str(directory))
        note(context, repository_key, description=f"git snapshot for {step.url}", kind=GIT, size=used)


async def _fetch(git: _Git, step: GitSource) -> None:
    """Fetch what is wanted alone, or everything, where the server does not give out a commit by itself."""
    try:
        await git.run("fetch", "--quiet", "--force", "--depth=1", "--no-tags", "--", step.url, step.ref or "HEAD")
    except errors.Internal:
        if not _COMMIT.fullmatch(step.ref):
            raise
        await git.run("fetch", "--quiet", "--force", "--tags", "--", step.url, "+refs/heads/*:refs/heads/*")


async def _export(
    bare: _Git, step: GitSource, commit: str, config: Mapping[str, str], directory: Path, tree: Path, heard: Heard
) -> None:
    """Put a commit's files into a directory, as a repository of its own where its .git or submodules are wanted."""
    if not step.keep_git_dir and not step.submodules:
        await bare.run("checkout", "--quiet", "--force", commit, "--", ".", work_tree=tree)
        return
    own = _Git(tree / ".git", config, heard)
    await own.run("init", "--quiet", work_tree=tree)
    await own.run("fetch", "--quiet", "--depth=1", "--no-tags", f"file://{directory}", commit, work_tree=tree, own=True)
    await own.run("remote", "add", "origin", step.url, work_tree=tree)
    await own.run("checkout", "--quiet", "--force", "--detach", commit, work_tree=tree)
    if step.submodules:
        await own.run("submodule", "update", "--init", "--recursive", "--depth=1", "--quiet", work_tree=tree)


def _move(tree: Path, target: Path, step: GitSource) -> None:
    """Move what is wanted of a checkout to where it is to be; the subdirectory is in the repository, without links."""
    if not step.keep_git_dir:
        shutil.rmtree(tree / ".git", ignore_errors=True)
    source = tree
    for part in step.subdir.strip("/").split("/"):
        source = source / part if part else source
        if part == ".." or source.is_symlink() or not source.is_dir():
            raise errors.NotFound(f"lstat {step.subdir}: no such file or directory")
    for child in source.iterdir():
        child.rename(target / child.name)


async def _config(client: Client, url: str) -> dict[str, str]:
    """Return the settings that give git the client's credentials; they are in no file, and shown to nobody."""
    if not url.startswith("https://"):
        return {}
    for name in _SECRETS:
        try:
            value = (await client.secret(name)).decode("ascii", "ignore").strip()
        except errors.NotFound:
            continue
        if name == "GIT_AUTH_TOKEN":
            value = f"basic {base64.b64encode(f'x-access-token:{value}'.encode()).decode()}"
        return {f"http.{url}.extraheader": f"Authorization: {value}"}
    return {}
