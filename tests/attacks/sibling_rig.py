"""Two backup services of one account: real TLS, real guest agents, PCCS, quotes, checks and gates; a simulated chain.

The holder is in slot 0, the taker in slot 1. Either may be the attacker's, as in `attested_rig`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.tls_channel import ChannelListener, connect
from sharekeeper.backup_service.copies import Copies, NewestViews
from sharekeeper.backup_service.endpoints import EndpointWatch, ReleaseGate
from sharekeeper.config_values import NetAddress
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import Role, SignerKey
from sharekeeper.domain.protocol_state import BackupServiceKeys
from sharekeeper.errors import SharekeeperError
from sharekeeper.mutual_attestation import MutualAttestation
from sharekeeper.ports import Attestation
from sharekeeper.protocol.messages import KeyShares, decode_message
from sharekeeper.protocol.monitoring import FetchCopy, Holdings
from sharekeeper.reconcile import ChainWatch, Faults
from tests.attestation.machines import Machine, allowed_code
from tests.attestation.rack import RunningRack, running_rack
from tests.protocol.attestation_values import stamped
from tests.protocol.exchange_values import ALICE, BACKUP_SERVICE, KEYSET, NETWORK, NODE, SHARES
from tests.unit.simulators import SimulatedTruth

from .attested_rig import MovableClock, VotedChain, WatchedVault
from .channels import HOST, USUAL
from .web_rig import RECORD

HOLDER, TAKER = BACKUP_SERVICE, KeyPair.generate(bytes([4]) * 32)
COPY = FetchCopy(keyset=KEYSET)


def in_slots(*keys: KeyPair | None):
    """The contract's word: those backup services are in force, in this order of slots, with valid evidence."""
    services = [
        key and BackupServiceKeys(tls_public_key=key.tls_key, signer_key=SignerKey(bytes([slot + 1]) * 32))
        for slot, key in enumerate(keys)
    ]
    valid = stamped(NODE.tls_key, *(key.tls_key for key in keys if key))
    return replace(RECORD, backup_services=tuple(services), evidence=valid)


class Side:
    """One of the two machines."""

    def __init__(self, rig: "SiblingRig", tls: KeyPair, name: str) -> None:
        self.rig, self.tls = rig, tls
        self.machine = self.another(name)
        self.vault = WatchedVault(
            network=NETWORK, account_id=ALICE, clock=rig.clock, entropy=lambda size: tls.public_raw[:size]
        )
        self.truth = SimulatedTruth(rig.chain)
        self.mutual: MutualAttestation | None = None
        self.watch = ChainWatch(rig.chain, SystemClock())
        self.faults = Faults(rig.clock)
        self.ended: list[SharekeeperError] = []

    def another(self, name: str, **settings) -> Machine:
        """A machine with this side's TLS key."""
        made = Machine(
            intel=self.rig.rack.intel,
            **{"role": Role.BACKUP_SERVICE, "network": NETWORK, "name": name, **settings},
        )
        made.tls = self.tls
        return made

    def use(self, attestation: Attestation) -> None:
        """It proves and checks with this port."""
        self.mutual = MutualAttestation(
            attestation,
            account_id=ALICE,
            chain=self.rig.chain,
            look=self.watch.look,
            clock=self.rig.clock,
            faults=self.faults,
        )

    def copies(self, port: int) -> Copies:
        async def dial(host, number, peer):
            return await connect(host, number, self.tls, peer)

        endpoints = EndpointWatch(self.truth, self.faults, self.rig.clock)
        return Copies(
            account_id=ALICE,
            network=NETWORK,
            tls_key=self.tls.tls_key,
            address=NetAddress(host=HOST, port=port),
            vault=self.vault,
            holdings=lambda: Holdings(usable=self.vault.index()),
            connect=dial,
            views=NewestViews(self.watch, self.rig.chain, ALICE),
            gate=ReleaseGate(endpoints, None, self.rig.clock, None),
            attestation=self.mutual,
        )


class SiblingRig:
    """The holder has the shares and listens, the taker has none."""

    def __init__(self, rack: RunningRack) -> None:
        self.rack = rack
        self.sent: list[bytes] = []
        self.clock = MovableClock()
        self.chain = VotedChain(None)
        self.chain.record = in_slots(HOLDER, TAKER)
        self.holder, self.taker = Side(self, HOLDER, "holder"), Side(self, TAKER, "taker")
        self.chain.allowed = allowed_code(self.holder.machine, self.taker.machine)

    async def prepare(self) -> None:
        for side in (self.holder, self.taker):
            side.use(await self.rack.attestation(side.machine, self.chain))
        self.backup = await self.holder.vault.store(KEYSET, SHARES, NODE.tls_key)

    async def fetch(self):
        """The taker asks for a copy, and stores it."""
        async with self.listening() as port:
            return await self.taker.copies(port).fetch(COPY)

    async def check(self):
        """The taker asks whether the holder has the shares that it has itself."""
        async with self.listening() as port:
            return await self.taker.copies(port).check(self.taker.vault.index()[0])

    @asynccontextmanager
    async def listening(self, handler=None) -> AsyncIterator[int]:
        """The holder's port, as the daemon opens it; what its sessions ended with is in `holder.ended`."""
        copies, served = self.holder.copies(1), asyncio.Event()

        async def serve(channel):
            send = channel.send_frame

            async def send_frame(payload):
                self.sent.append(payload)
                await send(payload)

            channel.send_frame = send_frame
            try:
                await (handler or copies.serve)(channel)
            except SharekeeperError as fault:
                self.holder.ended.append(fault)
                raise
            finally:
                served.set()

        listener = ChannelListener(HOST, 0, HOLDER, copies.expected_peers, serve, timeouts=USUAL)
        await listener.start()
        try:
            yield listener.port
        finally:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(served.wait(), 0.5)
            await listener.stop()

    @property
    def nothing_moved(self) -> bool:
        """No share left the holder, and none reached the taker's vault."""
        return not self.taker.vault.index() and not any(
            isinstance(decode_message(frame), KeyShares) for frame in self.sent
        )


@asynccontextmanager
async def sibling_rig(directory: Path) -> AsyncIterator[SiblingRig]:
    """Both machines are on the rack, voted for, and stamped on the contract."""
    async with running_rack(directory) as rack:
        rig = SiblingRig(rack)
        await rig.prepare()
        yield rig
