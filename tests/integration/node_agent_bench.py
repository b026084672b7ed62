"""One machine with its node agent: real key-share store, supervisor and sessions; chain and wire are simulated."""

import asyncio
import errno
import threading

from sharekeeper.adapters.durable_file import Disk
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.adapters.supervisor import CommandSupervisor
from sharekeeper.config import SupervisorConfig
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.node_agent.agent import NodeAgent, NodeAgentPorts, NodeAgentSettings
from tests.protocol.exchange_values import shares_of
from tests.unit.protocol_values import (
    ALICE,
    NETWORK,
    OLD,
    RUNNING,
    record,
    signer,
    tls,
)
from tests.unit.simulators import ManualClock, PlainMemory, RecordingCaller, SimulatedChain

from .wires import wire

SERVICE = BackupServiceKeys(tls_public_key=tls(21), signer_key=signer(21))
SHARES = shares_of(RUNNING.keyset)
PRIVATE = SHARES[0].private_share.reveal().hex().encode()


class CountingListener:
    def __init__(self):
        self.enforced = 0

    async def enforce_pins(self):
        self.enforced += 1


class TroubledDisk(Disk):
    """Refuses to write and to rename while `full`; a write waits until `free`."""

    full = False

    def __init__(self):
        self.free, self.reached = threading.Event(), threading.Event()
        self.free.set()

    def write(self, descriptor, data):
        self.reached.set()
        self.free.wait(10)
        self._check()
        return super().write(descriptor, data)

    def rename(self, source, target):
        self._check()
        super().rename(source, target)

    def _check(self):
        if self.full:
            raise OSError(errno.ENOSPC, "No space left on device")


class Bench:
    """One machine of Alice's, and everything around its agent."""

    def __init__(self, directory, own=OLD, state=RUNNING, known=None):
        self.directory, self.own = directory, own
        self.clock, self.disk = ManualClock(), TroubledDisk()
        self.chain = SimulatedChain(self.clock, state, known or record(backup_service=SERVICE))
        self.caller, self.memory, self.listener = RecordingCaller(), PlainMemory(), CountingListener()
        self.store = DirectoryKeyShareStore(directory / "keyshares", disk=self.disk)
        self.start()

    def start(self):
        config = SupervisorConfig(
            start=("/bin/sh", "-c", "touch running"),
            stop=("/bin/sh", "-c", "rm -f running"),
            directory=self.directory,
        )
        self.agent = NodeAgent(
            NodeAgentSettings(account_id=ALICE, network=NETWORK, own=self.own),
            NodeAgentPorts(
                chain=self.chain,
                caller=self.caller,
                store=self.store,
                supervisor=CommandSupervisor(config),
                memory=self.memory,
                clock=self.clock,
            ),
        )

    def now(self, state, known=None):
        self.chain.state, self.chain.height = state, self.chain.height + 1
        self.chain.record = known or self.chain.record

    async def turns(self, number=2):
        for _ in range(number):
            await self.agent.turn(self.listener)
            for worker in (self.agent._caller, self.agent._supervision._worker):
                for _ in range(400):
                    if worker._task is None or worker._task.done():
                        break
                    await asyncio.sleep(0.005)

    def codes(self):
        return {fault.code for fault in self.agent.faults.current()}

    def runs(self):
        return (self.directory / "running").exists()

    def channel(self):
        """The service's end, and the agent serving the other."""
        service, node = wire(SERVICE.tls_public_key, self.own.info.tls_public_key)
        return service, asyncio.create_task(self.agent.serve(node))

    def session(self, kind, *, keys=RUNNING.keyset, recovery_id=None):
        return kind(
            account_id=ALICE,
            network=NETWORK,
            keyset=keys,
            node_tls_key=self.own.info.tls_public_key,
            backup_service_tls_key=SERVICE.tls_public_key,
            recovery_id=recovery_id,
        )

    async def stop(self):
        await self.agent._caller.stop()
        await self.agent._supervision.stop()
