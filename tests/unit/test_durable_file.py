"""The one module that writes: modes, order of calls, failures, leftovers, locks."""

import errno
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from sharekeeper.adapters.durable_file import (
    TEMPORARY_PREFIX,
    Disk,
    FileLock,
    append_line,
    clean,
    ensure_directory,
    move,
    read_file,
    remove_tree,
    sync_directory,
    write_directory,
    write_file,
)
from sharekeeper.errors import AlreadyRunning, StoreFailed
from tests.unit.vault_values import Counter, SteppedDisk, failing, leftovers

FILES = {"a": b"first" * 40, "b": b""}


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=lambda mask: f"umask-{mask:03o}")
def umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


# --- what is there afterwards -------------------------------------------------------------------


def test_a_written_file_holds_the_data_and_only_its_owner_may_read_it(tmp_path, umask):
    write_file(tmp_path / "f", b"data")
    assert read_file(tmp_path / "f", limit=10, private=True) == b"data"
    assert mode(tmp_path / "f") == 0o600


def test_a_written_directory_and_its_files_are_their_owners_alone(tmp_path, umask):
    write_directory(tmp_path / "d", FILES)
    assert {path.name: path.read_bytes() for path in (tmp_path / "d").iterdir()} == FILES
    assert [mode(tmp_path / "d"), mode(tmp_path / "d/a"), mode(tmp_path / "d/b")] == [0o700, 0o600, 0o600]


def test_made_directories_and_appended_files_are_their_owners_alone(tmp_path, umask):
    ensure_directory(tmp_path / "x" / "y")
    append_line(tmp_path / "x" / "y" / "log", b"line")
    assert [mode(tmp_path / "x"), mode(tmp_path / "x/y"), mode(tmp_path / "x/y/log")] == [0o700, 0o700, 0o600]


def test_a_directory_open_to_others_is_closed_to_them(tmp_path):
    (tmp_path / "d").mkdir(mode=0o755)
    ensure_directory(tmp_path / "d")
    assert mode(tmp_path / "d") == 0o700


def test_the_modes_hold_before_the_first_byte_is_written(tmp_path):
    seen = []

    class Watched(Disk):
        def write(self, descriptor, data):
            seen.append(stat.S_IMODE(os.fstat(descriptor).st_mode))
            return super().write(descriptor, data)

    write_file(tmp_path / "f", b"secret", disk=Watched())
    write_directory(tmp_path / "d", FILES, disk=Watched())
    assert set(seen) == {0o600}


def test_a_file_is_replaced_whole(tmp_path):
    write_file(tmp_path / "f", b"a much longer first content")
    write_file(tmp_path / "f", b"short")
    assert (tmp_path / "f").read_bytes() == b"short"


def test_a_directory_is_never_overwritten(tmp_path):
    write_directory(tmp_path / "d", FILES)
    with pytest.raises(StoreFailed, match="cannot write backup"):
        write_directory(tmp_path / "d", {"a": b"other"}, what="backup")
    assert (tmp_path / "d/a").read_bytes() == FILES["a"]
    assert leftovers(tmp_path) == []


def test_lines_are_appended_and_a_torn_line_ends_first(tmp_path):
    append_line(tmp_path / "log", b"one")
    with (tmp_path / "log").open("ab") as log:
        log.write(b"tor")
    append_line(tmp_path / "log", b"two")
    assert (tmp_path / "log").read_bytes() == b"one\ntor\ntwo\n"


def test_a_moved_file_replaces_its_target(tmp_path):
    write_file(tmp_path / "new", b"new")
    write_file(tmp_path / "old", b"old")
    move(tmp_path / "new", tmp_path / "old")
    assert ((tmp_path / "new").exists(), (tmp_path / "old").read_bytes()) == (False, b"new")


def test_a_removed_tree_is_gone_whatever_is_in_it(tmp_path):
    write_directory(tmp_path / "d", FILES)
    (tmp_path / "outside").write_bytes(b"stays")
    (tmp_path / "d/deep").mkdir()
    (tmp_path / "d/deep/link").symlink_to(tmp_path / "outside")
    os.mkfifo(tmp_path / "d/pipe")
    assert remove_tree(tmp_path / "d") is True
    assert remove_tree(tmp_path / "d") is False
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]


def test_cleaning_removes_leftovers_and_nothing_else(tmp_path):
    (tmp_path / f"{TEMPORARY_PREFIX}d-1").mkdir()
    (tmp_path / f"{TEMPORARY_PREFIX}d-1" / "shares.age").write_bytes(b"x")
    (tmp_path / f"{TEMPORARY_PREFIX}f-2").write_bytes(b"x")
    (tmp_path / "kept").write_bytes(b"x")
    assert clean(tmp_path) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_long_name_can_be_written(tmp_path):
    write_file(tmp_path / ("n" * 255), b"x")
    assert read_file(tmp_path / ("n" * 255), limit=1) == b"x"


# --- the order of calls -------------------------------------------------------------------------


def calls_of(action):
    counter = Counter()
    action(SteppedDisk(counter))
    return counter.calls


def test_a_file_is_synced_before_its_rename_and_its_directory_after(tmp_path):
    calls = calls_of(lambda disk: write_file(tmp_path / "f", b"x" * 100, disk=disk))
    assert calls == ["create", "write", "write", "fsync", "rename", "fsync"]


def test_a_directory_is_complete_and_synced_before_its_rename(tmp_path):
    calls = calls_of(lambda disk: write_directory(tmp_path / "d", {"a": b"x", "b": b"y"}, disk=disk))
    each = ["create", "write", "fsync"]
    assert calls == ["mkdir", "chmod", *each, *each, "fsync", "rename", "fsync"]


def test_a_removal_is_durable_before_anything_is_deleted(tmp_path):
    write_directory(tmp_path / "d", {"a": b"x"})
    calls = calls_of(lambda disk: remove_tree(tmp_path / "d", disk=disk))
    assert calls == ["rename", "fsync", "unlink", "rmdir", "fsync"]


def test_other_changes_end_with_a_sync(tmp_path):
    write_file(tmp_path / "f", b"x")
    (tmp_path / f"{TEMPORARY_PREFIX}x").write_bytes(b"x")
    assert calls_of(lambda disk: move(tmp_path / "f", tmp_path / "g", disk=disk)) == ["rename", "fsync", "fsync"]
    assert calls_of(lambda disk: append_line(tmp_path / "l", b"x", disk=disk)) == [
        "append",
        "write",
        "write",
        "fsync",
        "fsync",
    ]
    assert calls_of(lambda disk: clean(tmp_path, disk=disk)) == ["unlink", "fsync"]
    assert calls_of(lambda disk: ensure_directory(tmp_path / "n", disk=disk)) == ["mkdir", "chmod", "fsync"]
    assert calls_of(lambda disk: sync_directory(tmp_path, disk=disk)) == ["fsync"]


# --- failures -----------------------------------------------------------------------------------

ACTIONS = {
    "write_file": lambda root, disk: write_file(root / "old", b"new", what="thing", disk=disk),
    "write_directory": lambda root, disk: write_directory(root / "d", FILES, what="thing", disk=disk),
    "append_line": lambda root, disk: append_line(root / "old", b"new", what="thing", disk=disk),
    "move": lambda root, disk: move(root / "old", root / "new", what="thing", disk=disk),
    "remove_tree": lambda root, disk: remove_tree(root / "old", what="thing", disk=disk),
    "clean": lambda root, disk: clean(root / "dirty", what="thing", disk=disk),
    "ensure_directory": lambda root, disk: ensure_directory(root / "e", what="thing", disk=disk),
    "sync_directory": lambda root, disk: sync_directory(root, what="thing", disk=disk),
}


def prepared(root):
    root.mkdir()
    (root / "old").write_bytes(b"old\n")
    (root / "dirty").mkdir()
    (root / "dirty" / f"{TEMPORARY_PREFIX}x").write_bytes(b"x")
    return root


@pytest.mark.parametrize("name", ACTIONS)
def test_a_failure_at_any_call_is_reported_with_role_path_and_cure_and_leaves_old_or_new(tmp_path, name):
    total = len(calls_of(lambda disk: ACTIONS[name](prepared(tmp_path / "count"), disk)))
    for at in range(total):
        root = prepared(tmp_path / str(at))
        with pytest.raises(StoreFailed, match=r"cannot write thing /.*No space left.*free space"):
            ACTIONS[name](root, failing(at, errno.ENOSPC))
        if name == "write_file":
            assert (root / "old").read_bytes() in {b"old\n", b"new"}
        if name in {"write_file", "write_directory"}:
            assert leftovers(root) == [root / "dirty" / f"{TEMPORARY_PREFIX}x"]


@pytest.mark.parametrize(
    ("code", "cure"),
    [(errno.EROFS, "read-write"), (errno.EIO, "replace it"), (errno.EACCES, "the user"), (errno.ELOOP, "try again")],
)
def test_each_failure_names_its_cure(tmp_path, code, cure):
    with pytest.raises(StoreFailed, match=cure):
        write_file(tmp_path / "f", b"", disk=failing(0, code))


def test_a_missing_directory_is_a_failure_that_names_the_path(tmp_path):
    with pytest.raises(StoreFailed, match="absent/f"):
        write_file(tmp_path / "absent" / "f", b"")


def test_a_leftover_that_cannot_be_removed_does_not_hide_the_failure(tmp_path):
    class Full(Disk):
        def write(self, descriptor, data):
            raise OSError(errno.ENOSPC, "No space left on device")

        def unlink(self, path):
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(StoreFailed, match="No space left"):
        write_file(tmp_path / "f", b"x", disk=Full())
    assert len(leftovers(tmp_path)) == 1
    clean(tmp_path)
    assert leftovers(tmp_path) == []


# --- reading ------------------------------------------------------------------------------------


def test_links_pipes_and_directories_are_refused_unread(tmp_path):
    write_file(tmp_path / "f", b"x")
    (tmp_path / "link").symlink_to(tmp_path / "f")
    os.mkfifo(tmp_path / "pipe")
    for name in ("link", "pipe", "."):
        with pytest.raises(OSError):  # the kernel's words differ
            read_file(tmp_path / name, limit=10)


def test_a_file_over_the_limit_is_refused(tmp_path):
    write_file(tmp_path / "f", b"12345")
    assert read_file(tmp_path / "f", limit=5, from_disk=True) == b"12345"
    with pytest.raises(OSError, match="larger than 4 bytes"):
        read_file(tmp_path / "f", limit=4)


def test_a_file_that_is_longer_than_it_says_is_refused():
    with pytest.raises(OSError, match="larger than 10 bytes"):
        read_file(Path("/proc/self/status"), limit=10)  # the kernel reports size 0


@pytest.mark.parametrize("wide", [0o640, 0o604, 0o620, 0o644])
def test_a_private_file_that_others_may_open_is_refused(tmp_path, wide):
    write_file(tmp_path / "f", b"x")
    (tmp_path / "f").chmod(wide)
    with pytest.raises(PermissionError, match="other users"):
        read_file(tmp_path / "f", limit=10, private=True)


# --- locks --------------------------------------------------------------------------------------


def test_a_second_holder_is_refused_until_the_first_lets_go(tmp_path):
    first = FileLock.take(tmp_path / "lock", what="the lock of the tests")
    with pytest.raises(AlreadyRunning, match="the lock of the tests"):
        FileLock.take(tmp_path / "lock", what="the lock of the tests")
    first.release()
    first.release()
    FileLock.take(tmp_path / "lock", what="the lock of the tests").release()


def test_a_lock_dies_with_its_process(tmp_path):
    code = (
        "import sys, time, pathlib; from sharekeeper.adapters.durable_file import FileLock; "
        "lock = FileLock.take(pathlib.Path(sys.argv[1]), what='it'); print('held', flush=True); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code, tmp_path / "lock"], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(AlreadyRunning):
            FileLock.take(tmp_path / "lock", what="it")
        holder.kill()
        holder.wait()
    FileLock.take(tmp_path / "lock", what="it", wait=True).release()


def test_a_lock_that_cannot_be_made_is_a_store_failure(tmp_path):
    with pytest.raises(StoreFailed, match="the lock"):
        FileLock.take(tmp_path / "absent" / "lock", what="the lock")
