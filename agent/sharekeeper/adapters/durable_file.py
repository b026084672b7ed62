"""The one module that writes to disk, and the only order in which it does (docs/vault-format.md, section 4).

A file: create under a temporary name in the same directory, write, fsync, rename, fsync the directory.
A directory: build it whole under a temporary name, fsync each file and the directory itself, rename,
fsync the parent. Removal: rename to a temporary name, fsync the parent, delete, fsync the parent.
So a name that does not start with `TEMPORARY_PREFIX` is always complete, whenever the process dies,
and `clean` removes what a dead process left behind.

Files are 0600 and directories 0700 from creation, whatever the umask.
"""

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, Self

from sharekeeper.errors import AlreadyRunning, StoreFailed

TEMPORARY_PREFIX: Final = ".tmp-"
_NAME_CHARACTERS: Final = 100
_PRIVATE_FILE: Final = 0o600
_PRIVATE_DIRECTORY: Final = 0o700
_OTHERS: Final = 0o077

_CURES: Final = {
    errno.ENOSPC: "free space on that disk and try again",
    errno.EDQUOT: "raise the disk quota or free space and try again",
    errno.EROFS: "mount the file system read-write",
    errno.EIO: "the disk is failing: replace it, then try again",
    errno.EACCES: "give the directory to the user this service runs as",
    errno.EPERM: "give the directory to the user this service runs as",
    errno.EMFILE: "raise the limit of open files (LimitNOFILE)",
    errno.ENFILE: "raise the limit of open files (fs.file-max)",
}


class Disk:
    """The system calls that change a disk, one method each. A derived class can fail or die before any of them."""

    def make_directory(self, path: Path) -> None:
        path.mkdir(mode=_PRIVATE_DIRECTORY)

    def set_mode(self, path: Path, mode: int) -> None:
        path.chmod(mode)

    def create(self, path: Path) -> int:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)

    def open_to_append(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(path, flags, _PRIVATE_FILE)

    def write(self, descriptor: int, data: memoryview) -> int:
        return os.write(descriptor, data)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.rename(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def remove_directory(self, path: Path) -> None:
        path.rmdir()


DISK: Final = Disk()
"""The disk of this machine."""


# --- writing ------------------------------------------------------------------------------------


def write_file(path: Path, data: bytes, *, what: str = "file", disk: Disk = DISK) -> None:
    """`path` holds exactly `data`, durably; before that it held what it held before, or was absent.

    Args:
        path: its directory exists.
        data: the whole content.
        what: the file's role, for the message.
        disk: the disk to write with.

    Raises:
        StoreFailed: `path` is as before, or (when only the last fsync failed) already the new file.
    """
    temporary = _temporary(path)
    with _reported(what, path), _removed_on_failure(temporary, disk):
        _write_new(temporary, data, disk)
        disk.rename(temporary, path)
        _sync_directory(path.parent, disk)


def write_directory(path: Path, files: Mapping[str, bytes], *, what: str = "directory", disk: Disk = DISK) -> None:
    """`path` is a new directory that holds exactly `files` (name to content), durably.

    Raises:
        StoreFailed: `path` is absent as before, or (when only the last fsync failed) there and complete;
            also when `path` is there already: nothing is overwritten.
    """
    temporary = _temporary(path)
    with _reported(what, path), _removed_on_failure(temporary, disk):
        _make_directory(temporary, disk)
        for name, data in files.items():
            _write_new(temporary / name, data, disk)
        _sync_directory(temporary, disk)
        disk.rename(temporary, path)
        _sync_directory(path.parent, disk)


def append_line(path: Path, line: bytes, *, what: str = "journal", disk: Disk = DISK) -> None:
    """`path` ends with `line` and a line feed, durably; a torn last line gets its line feed first.

    A crash can leave a torn last line: readers skip lines they cannot parse.

    Raises:
        StoreFailed: the line may be absent, torn or there.
    """
    with _reported(what, path):
        descriptor = disk.open_to_append(path)
        try:
            os.fchmod(descriptor, _PRIVATE_FILE)
            _write_all(descriptor, _line_end(descriptor) + line + b"\n", disk)
            disk.sync(descriptor)
        finally:
            os.close(descriptor)
        _sync_directory(path.parent, disk)


def move(source: Path, target: Path, *, what: str = "file", disk: Disk = DISK) -> None:
    """What was at `source` is at `target`, durably; a file that was at `target` is replaced in the same instant.

    Raises:
        StoreFailed: nothing moved, or (when only an fsync failed) it moved.
    """
    with _reported(what, target):
        disk.rename(source, target)
        _sync_directory(target.parent, disk)
        _sync_directory(source.parent, disk)


def remove_tree(path: Path, *, what: str = "directory", disk: Disk = DISK) -> bool:
    """Nothing is at `path`, durably, and its files are deleted; True if something was there.

    Deleted is not wiped: flash media and copying file systems may keep remnants of the blocks.

    Raises:
        StoreFailed: `path` is as before, or gone with remnants under a temporary name.
    """
    if not os.path.lexists(path):
        return False
    temporary = _temporary(path)
    with _reported(what, path):
        disk.rename(path, temporary)
        _sync_directory(path.parent, disk)
        _remove(temporary, disk)
        _sync_directory(path.parent, disk)
    return True


def clean(directory: Path, *, what: str = "leftover", disk: Disk = DISK) -> int:
    """No leftover of a dead process is in `directory`; returns how many were. The caller is the only writer there."""
    with _reported(what, directory):
        leftovers = [directory / name for name in os.listdir(directory) if name.startswith(TEMPORARY_PREFIX)]  # noqa: PTH208  # names only
        for path in leftovers:
            _remove(path, disk)
        if leftovers:
            _sync_directory(directory, disk)
    return len(leftovers)


def ensure_directory(path: Path, *, what: str = "directory", disk: Disk = DISK) -> None:
    """`path` is a directory that only its owner can enter, durably; missing parents are made the same way.

    Raises:
        StoreFailed: it cannot be made, or belongs to another user and is open to others.
    """
    with _reported(what, path):
        for missing in reversed([each for each in (path, *path.parents) if not each.exists()]):
            _make_directory(missing, disk)
            _sync_directory(missing.parent, disk)
        if path.stat().st_mode & _OTHERS:
            disk.set_mode(path, _PRIVATE_DIRECTORY)


def sync_directory(path: Path, *, what: str = "directory", disk: Disk = DISK) -> None:
    """The names in `path` are durable. Raises `StoreFailed`."""
    with _reported(what, path):
        _sync_directory(path, disk)


# --- reading ------------------------------------------------------------------------------------


def read_file(path: Path, *, limit: int, private: bool = False, from_disk: bool = False) -> bytes:
    """The content of a regular file of at most `limit` bytes; links, pipes and devices are refused unread.

    Args:
        path: the file.
        limit: largest size accepted, in bytes.
        private: refuse a file that its group or others may read.
        from_disk: ask the kernel to drop its cached copy first, so that the medium is read.

    Raises:
        OSError: absent, unreadable, not a regular file, too large, or open to others; the text says which.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, "not a regular file")
        if facts.st_size > limit:
            raise OSError(errno.EFBIG, f"larger than {limit} bytes")
        if private and facts.st_mode & _OTHERS:
            raise PermissionError(errno.EPERM, "readable by other users")
        if from_disk:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"larger than {limit} bytes")
    return data


class FileLock:
    """An exclusive lock on a file, held until `release` or the end of the process, however it ends."""

    __slots__ = ("_descriptor",)

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    @classmethod
    def take(cls, path: Path, *, what: str, wait: bool = False) -> Self:
        """The lock is held by this object.

        Raises:
            AlreadyRunning: another process holds it (never with `wait`).
            StoreFailed: the lock file cannot be made.
        """
        with _reported(what, path):
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, _PRIVATE_FILE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except OSError as error:
            os.close(descriptor)
            if error.errno == errno.EWOULDBLOCK:
                raise AlreadyRunning(f"another process holds {what} {path}; stop it first") from None
            raise StoreFailed(_sentence(what, path, error)) from error
        return cls(descriptor)

    def release(self) -> None:
        """The lock is free. Repeating it changes nothing."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


# --- helpers ------------------------------------------------------------------------------------


def _temporary(path: Path) -> Path:
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name[:_NAME_CHARACTERS]}-{secrets.token_hex(8)}")


def _write_new(path: Path, data: bytes, disk: Disk) -> None:
    descriptor = disk.create(path)
    try:
        os.fchmod(descriptor, _PRIVATE_FILE)
        _write_all(descriptor, data, disk)
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, data: bytes, disk: Disk) -> None:
    left = memoryview(data)
    while left:
        left = left[disk.write(descriptor, left) :]


def _line_end(descriptor: int) -> bytes:
    """The line feed that a torn last line lacks."""
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""


def _make_directory(path: Path, disk: Disk) -> None:
    disk.make_directory(path)
    disk.set_mode(path, _PRIVATE_DIRECTORY)


def _sync_directory(path: Path, disk: Disk) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        disk.sync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: Path, disk: Disk) -> None:
    if path.is_symlink() or not path.is_dir():
        disk.unlink(path)
        return
    for child in sorted(path.iterdir()):
        _remove(child, disk)
    disk.remove_directory(path)


@contextmanager
def _removed_on_failure(temporary: Path, disk: Disk) -> Iterator[None]:
    """A failed write leaves no temporary file; what a failing disk keeps is left to `clean`."""
    try:
        yield
    except BaseException:
        with suppress(OSError):
            _remove(temporary, disk)
        raise


@contextmanager
def _reported(what: str, path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(_sentence(what, path, error)) from error


def _sentence(what: str, path: Path, error: OSError) -> str:
    cure = _CURES.get(error.errno or 0, "see to that path and try again")
    return f"cannot write {what} {path}: {error.strerror or error}; {cure}"
