import errno

import pytest

from sharekeeper.adapters.durable_file import Disk
from sharekeeper.adapters.memory import FILE_NAME, FileMemory
from sharekeeper.errors import HostFault, StoreFailed
from sharekeeper.protocol.onboarding import KeyHistory

from .protocol_values import tls

NAMED = KeyHistory(recorded=True, named=True)


async def test_what_is_remembered_survives_a_restart_and_only_grows(tmp_path):
    memory = FileMemory(tmp_path / "state", tls(1))
    assert (memory.history, memory.floor_height) == (KeyHistory(), 0)
    await memory.remember(KeyHistory(recorded=True), 7)
    await memory.remember(KeyHistory(named=True), 3)
    again = FileMemory(tmp_path / "state", tls(1))
    assert (again.history, again.floor_height) == (NAMED, 7)
    assert (tmp_path / "state" / FILE_NAME).stat().st_mode & 0o777 == 0o600


async def test_new_keys_begin_with_an_empty_memory(tmp_path):
    await FileMemory(tmp_path, tls(1)).remember(NAMED, 7)
    assert FileMemory(tmp_path, tls(2)).history == KeyHistory()


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"format":1,"tls_public_key":"x"}', b"\xff" * 5000])
def test_a_damaged_memory_is_never_taken_for_an_empty_one(tmp_path, content):
    (tmp_path / FILE_NAME).write_bytes(content)
    with pytest.raises(HostFault, match="is damaged"):
        FileMemory(tmp_path, tls(1))


async def test_a_memory_of_another_format_is_refused(tmp_path):
    await FileMemory(tmp_path, tls(1)).remember(NAMED, 7)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(HostFault, match="reads format 1"):
        FileMemory(tmp_path, tls(1))


async def test_nothing_is_written_when_nothing_new_is_learnt(tmp_path):
    memory = FileMemory(tmp_path, tls(1))
    await memory.remember(NAMED, 7)
    before = (tmp_path / FILE_NAME).stat().st_ino
    await memory.remember(KeyHistory(), 6)
    assert (tmp_path / FILE_NAME).stat().st_ino == before


async def test_a_memory_that_cannot_be_written_is_not_believed(tmp_path):
    class FullDisk(Disk):
        def write(self, descriptor, data):
            raise OSError(errno.ENOSPC, "No space left on device")

    memory = FileMemory(tmp_path, tls(1), disk=FullDisk())
    with pytest.raises(StoreFailed):
        await memory.remember(NAMED, 7)
    assert memory.history == KeyHistory()
    assert FileMemory(tmp_path, tls(1)).history == KeyHistory()
