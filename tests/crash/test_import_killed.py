"""The node agent is killed at every disk operation of an import, one after the other, until the recovery is through.

Each start runs a real daemon process that kills itself (SIGKILL) before its n-th change of the key-share
directory. Whatever was killed, the next start goes on from what is on disk and on the chain.
"""

import signal

import pytest

from sharekeeper.domain.protocol_state import Recovery
from tests.integration.world import world

from .daemon_process import DaemonProcess

KILLED = """
import os, signal
from sharekeeper.adapters import durable_file
from sharekeeper.cli.main import main

left = NUMBER

def deadly(name):
    real = getattr(durable_file.Disk, name)
    def call(self, target, *more):
        global left
        path = os.readlink(f"/proc/self/fd/{target}") if isinstance(target, int) else str(target)
        left -= "/keyshares" in path
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, target, *more)
    setattr(durable_file.Disk, name, call)

for name in ("make_directory", "create", "write", "sync", "rename", "unlink"):
    deadly(name)
main()
"""


@pytest.mark.timeout(180)
async def test_an_import_killed_at_any_disk_operation_goes_on_after_the_next_start(tmp_path):
    async with world(tmp_path, names=("alice",), threshold=1, config={"recovery_timeout_blocks": 5000}) as net:
        alice = net["alice"]
        await net.with_backup("alice")
        await alice.node("old").stop()
        await net.grant("alice", alice.node("new"))
        killed = 0
        for number in range(1, 40):
            program = KILLED.replace("NUMBER", str(number))
            agent = DaemonProcess(alice.node("new").config_path, "node-agent", program=program)
            await agent.start()

            async def over(agent=agent):
                if agent.process.returncode is not None:
                    return "killed"
                return await net.names("alice", "new") and alice.node_runs("new") and "recovered"

            outcome = await net.until(over, seconds=30)
            status, log = await agent.end(signal.SIGTERM)
            if outcome == "recovered":
                assert status == 0, log
                break
            assert status == -signal.SIGKILL, log
            killed += 1
            store = alice.store("new")
            staged = await store.staged()
            in_place = await store.read(net.keyset) is not None
            if isinstance(await net.state(), Recovery) and (await net.state()).shares_confirmed:
                assert staged is not None or in_place, "what was confirmed is on disk"
        assert killed >= 8, "the deadly operations were reached"
        assert await alice.store("new").read(net.keyset) == net.shares("alice")
        assert await alice.store("new").staged() is None
