"""The marks in a layer's directory that hide what is below: overlayfs's own, so that it can be a lower layer as it is.

A name is hidden by a character device 0:0, what is in a directory by an attribute. Some file systems can have neither,
an overlay above all; there a block device 0:0 and a user's attribute stand for them, which no overlay understands: a
data root on those is one for the storage driver vfs alone.
"""

from __future__ import annotations

import errno
import os
import stat

OPAQUE_XATTR = "trusted.overlay.opaque"
_PLAIN_OPAQUE_XATTR = "user.overlay.opaque"
OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.")
_UNSUPPORTED = (errno.ENOTSUP, errno.EPERM)


def is_whiteout(status: os.stat_result) -> bool:
    return status.st_rdev == 0 and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode))


def make_whiteout(name: str | bytes, directory_fd: int) -> None:
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory_fd)
    except PermissionError:
        os.mknod(name, stat.S_IFBLK, 0, dir_fd=directory_fd)


def is_opaque(directory: int | str | bytes | os.PathLike[str]) -> bool:
    """Say whether a directory, by a descriptor or a path that ends in no link, hides what is below."""
    try:
        return os.getxattr(directory, OPAQUE_XATTR) == b"y"
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            return False
    try:
        return os.getxattr(directory, _PLAIN_OPAQUE_XATTR) == b"y"
    except OSError:
        return False


def make_opaque(directory: int | bytes) -> None:
    try:
        os.setxattr(directory, OPAQUE_XATTR, b"y")
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise
        os.setxattr(directory, _PLAIN_OPAQUE_XATTR, b"y")
