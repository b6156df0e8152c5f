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
OVERLAY_XATTRS = ("trusted.overlay.", "user.overlay.", "user.fuseoverlayfs.")
"""What steers overlays themselves: no part of what an image holds."""
FUSE_MARKS = frozenset((".wh..wh..opq", ".wh..opq"))
"""Files that fuse-overlayfs puts into an opaque directory, and shows nobody."""
_UNSUPPORTED = (errno.ENOTSUP, errno.EPERM)


def is_whiteout(status: os.stat_result) -> bool:
    return status.st_rdev == 0 and (stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode))


def make_whiteout(name: str | bytes, directory_fd: int) -> None:
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=directory_fd)
    except PermissionError:
        os.mknod(name, stat.S_IFBLK, 0, dir_fd=directory_fd)


def is_kept(attribute: str) -> bool:
    """Say whether a layer's archive has an extended attribute: a file's capabilities and its users' own are kept."""
    is_of_user = attribute.startswith("user.") and not attribute.startswith(OVERLAY_XATTRS)
    return is_of_user or attribute == "security.capability"


def remove_fuse_marks(directory: str) -> None:
    """Make of a directory that fuse-overlayfs has written to one that the kernel's overlay can read."""
    for _, _, files, directory_fd in os.fwalk(directory):
        for name in FUSE_MARKS.intersection(files):
            os.unlink(name, dir_fd=directory_fd)


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
