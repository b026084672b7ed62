"""What the daemons of `walks.py` work with: the contract's own rules on a simulated chain, and plain ports around it."""

import hashlib
import json
from typing import Any

from contract import logic
from contract.codec import ContractError
from contract.session import Chain
from sharekeeper.domain.backup import StoredBackup
from sharekeeper.domain.ephemeral import EphemeralKeys
from sharekeeper.domain.identity import AccountId, SignerKey
from sharekeeper.domain.keyset import Keyset, Sha256Hex
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.domain.protocol_state import (
    AccountRecord,
    BlockRef,
    ProtocolState,
    running_part,
)
from sharekeeper.errors import NoBackup, PolicyRefused, TransactionFailed
from sharekeeper.ports import (
    ApprovalStore,
    ChainReader,
    ChainTruth,
    ContractCaller,
    NodeSupervisor,
    OverrideStore,
    Vault,
)
from sharekeeper.protocol.contract_json import decode_account, decode_state
from sharekeeper.protocol.quorum import OWN, Statement, decide_survey
from tests.unit.protocol_values import ALICE, NETWORK
from tests.unit.simulators import ManualClock

CONTRACT = NETWORK.contract_id


class Storage(dict[str, str]):
    """The contract's storage."""

    def set(self, key: str, value: str) -> None:
        self[key] = value

    def remove(self, key: str) -> None:
        del self[key]


class Contract:
    """The contract's rules on a chain of one call a block."""

    def __init__(self, clock: ManualClock) -> None:
        self.clock, self.height, self.storage = clock, 100, Storage()
        self.accepted: set[Keyset] = set()
        """Every keyset that was ever in force, or would have been after a cancellation."""

    def advance(self, blocks: int = 1) -> None:
        self.height += blocks
        self.clock.seconds += blocks

    def call(self, account_id: str, signer: SignerKey, method: str, args: dict[str, Any]) -> Any:
        """What the call returns. Raises `ContractError`, and then nothing has changed."""
        self.advance()
        tried = Storage(self.storage)
        chain = Chain(
            store=tried,
            height=self.height,
            now=self._now,
            contract_id=CONTRACT,
            signer_id=account_id,
            predecessor_id=account_id,
            signer_key=b"\0" + signer.raw,
            deposit=0,
            sha256=lambda data: hashlib.sha256(data).digest(),
            ed25519_verify=lambda *_: False,
        )
        result = logic.execute(chain, method, args)
        self.storage = tried
        running = running_part(self.state())
        self.accepted |= set() if running is None else {running.keyset}
        return result

    @property
    def _now(self) -> int:
        return self.clock.wall_ns() // 10**9

    def view(self, method: str, **args: Any) -> str:
        return logic.view(self.storage, self.height, self._now, method, args)

    def state(self) -> ProtocolState:
        return decode_state(json.loads(self.view("state")))

    def record(self, account_id: AccountId) -> AccountRecord:
        return decode_account(json.loads(self.view("participant_info", account_id=account_id)))


class Reader(ChainReader):
    """The contract as one honest endpoint shows it."""

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    async def network(self):
        return NETWORK

    async def head(self):
        height = self._contract.height
        return BlockRef(height=height, hash=str(height), timestamp_ns=self._contract.clock.wall_ns())

    async def protocol_state(self, at):
        return self._contract.state()

    async def account(self, account_id, at):
        return self._contract.record(account_id)

    async def ephemeral_keys(self, account_id, at):
        return EphemeralKeys(backup_service=None, node=None)


class Truth(ChainTruth):
    """That endpoint alone."""

    quorum, endpoints = 1, (OWN,)

    def __init__(self, contract: Contract) -> None:
        self._contract = contract

    async def survey(self):
        head = await Reader(self._contract).head()
        views = (
            self._contract.view("state").encode(),
            self._contract.view("participant_info", account_id=ALICE).encode(),
        )
        told = Statement(endpoint=OWN, final=head, block=head, views=views)
        return decide_survey([told], quorum=1, now_ns=self._contract.clock.wall_ns())

    async def compare(self):
        return await self.survey()

    async def own_views(self, block_hash):
        raise PolicyRefused("no override is needed")


class Caller(ContractCaller):
    """Calls of one access key of Alice's."""

    account_id = ALICE

    def __init__(self, contract: Contract, key: SignerKey) -> None:
        self._contract, self._key = contract, key

    @property
    def signer_key(self):
        return self._key

    async def call(self, method, args):
        try:
            return self._contract.call(ALICE, self._key, method, dict(args))
        except ContractError as error:
            raise TransactionFailed(str(error)) from None


class Supervisor(NodeSupervisor):
    """The MPC node as one bit."""

    def __init__(self) -> None:
        self.running = False

    async def ensure_running(self):
        changed, self.running = not self.running, True
        return changed

    async def ensure_stopped(self):
        changed, self.running = self.running, False
        return changed


class PlainVault(Vault):
    """Backups in memory. `stored` is everything that was ever stored."""

    def __init__(self, clock: ManualClock) -> None:
        self._clock = clock
        self._held: dict[str, tuple[StoredBackup, tuple[KeyShare, ...]]] = {}
        self.stored: list[Keyset] = []

    def index(self):
        return [stored for stored, _ in self._held.values()]

    def keysets(self) -> set[Keyset]:
        return {stored.keyset for stored, _ in self._held.values()}

    async def store(self, keyset, shares, source):
        backup = StoredBackup(
            backup_id=keyset.backup_id(NETWORK, ALICE),
            keyset=keyset,
            digest=keyset.digest(),
            source_tls_key=source,
            stored_at_ns=self._clock.wall_ns(),
            ciphertext_sha256=Sha256Hex.of(b""),
            ciphertext_bytes=1,
        )
        self._held[backup.backup_id] = (backup, shares)
        self.stored.append(keyset)
        return backup

    async def open(self, backup_id):
        if backup_id not in self._held:
            raise NoBackup("not held")
        return self._held[backup_id][1]

    async def destroy_older(self, current):
        gone = [backup_id for backup_id in self._held if backup_id != current]
        for backup_id in gone:
            del self._held[backup_id]
        return gone


class Nothing(ApprovalStore, OverrideStore):
    """The policy is automatic and the endpoint is one: neither is asked for."""

    def pending(self):
        return ()

    async def add(self, approval):
        raise PolicyRefused("none is taken")

    async def spend(self, *_):
        raise PolicyRefused("there is none")


class NoListener:
    async def enforce_pins(self):
        return
