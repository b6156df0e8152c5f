"""Copying what a directory of the image holds into the tmpfs that covers it (the `tmpcopyup` mount option)."""

from __future__ import annotations

import os
import stat

_CHUNK_BYTES = 1 << 20


def copy_tree(source_fd: int, target_fd: int) -> None:
    """Copy entries with owners, modes, times and extended attributes; links are copied, never followed."""
    directory_fd = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source_fd)
    try:
        for name in os.listdir(directory_fd):
            _copy(directory_fd, target_fd, name)
    finally:
        os.close(directory_fd)


def _copy(source_fd: int, target_fd: int, name: str) -> None:
    info = os.stat(name, dir_fd=source_fd, follow_symlinks=False)
    if stat.S_ISLNK(info.st_mode):
        os.symlink(os.readlink(name, dir_fd=source_fd), name, dir_fd=target_fd)
    elif stat.S_ISDIR(info.st_mode):
        _copy_directory(source_fd, target_fd, name)
    elif stat.S_ISREG(info.st_mode):
        _copy_file(source_fd, target_fd, name)
    else:
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target_fd)
    if not stat.S_ISREG(info.st_mode):
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target_fd, follow_symlinks=False)
    if not stat.S_ISLNK(info.st_mode):
        os.chmod(name, stat.S_IMODE(info.st_mode), dir_fd=target_fd)
    os.utime(name, ns=(info.st_atime_ns, info.st_mtime_ns), dir_fd=target_fd, follow_symlinks=False)


def _copy_directory(source_fd: int, target_fd: int, name: str) -> None:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    os.mkdir(name, 0o700, dir_fd=target_fd)
    inner_source = os.open(name, flags, dir_fd=source_fd)
    inner_target = os.open(name, flags, dir_fd=target_fd)
    try:
        copy_tree(inner_source, inner_target)
        _copy_attributes(inner_source, inner_target)
    finally:
        os.close(inner_source)
        os.close(inner_target)


def _copy_file(source_fd: int, target_fd: int, name: str) -> None:
    reader = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source_fd)
    writer = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target_fd)
    try:
        while os.sendfile(writer, reader, None, _CHUNK_BYTES):
            pass
        # The owner before the attributes: a change of owner takes a file's capabilities away.
        info = os.fstat(reader)
        os.fchown(writer, info.st_uid, info.st_gid)
        _copy_attributes(reader, writer)
    finally:
        os.close(reader)
        os.close(writer)


def _copy_attributes(source_fd: int, target_fd: int) -> None:
    for attribute in os.listxattr(source_fd):
        try:
            os.setxattr(target_fd, attribute, os.getxattr(source_fd, attribute))
        except OSError:
            continue  # tmpfs knows few attributes
