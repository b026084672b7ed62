"""The JSON-RPC methods: each reads its parameters, asks the chain, and returns neard's body."""

import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

from sharekeeper_devnet.chain import fees
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import Block, Inclusion
from sharekeeper_devnet.chain.driver import Driver, NotReachedError
from sharekeeper_devnet.chain.genesis import EPOCH_LENGTH, PROTOCOL_VERSION, time_text
from sharekeeper_devnet.chain.ledger import ExecutionStatus, Finality, Ledger, UnknownTransactionError, epoch_height
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, parse_hash
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.rpc import errors, query, views
from sharekeeper_devnet.chain.rpc.params import BlockReference, ByHash, ByHeight, Earliest, Params, invalid
from sharekeeper_devnet.chain.rpc.views import NodeIdentity, View
from sharekeeper_devnet.chain.transaction import SignedTransaction

Method: TypeAlias = Callable[[Params], Awaitable[object]]

STATUS_ONLY = {ExecutionStatus.NONE, ExecutionStatus.INCLUDED, ExecutionStatus.INCLUDED_FINAL}
"""When a client waits for no more than this, the answer is the status alone."""
CHANGE_PREFIXES: Mapping[str, Callable[[str], bytes]] = {
    "account_changes": chain_state.account_key,
    "contract_code_changes": chain_state.code_key,
    "all_access_key_changes": chain_state.access_key_prefix,
    "data_changes": chain_state.data_prefix,
}
MAX_PEERS = 40


def find_block(ledger: Ledger, reference: BlockReference) -> Block:
    """The block `reference` names.

    Raises:
        RpcError: UNKNOWN_BLOCK.
    """
    match reference:
        case Finality():
            return ledger.tip.block(reference)
        case Earliest():
            return ledger.earliest
        case ByHeight(height=height):
            found, text = ledger.store.block_by_height(height), f"BLOCK HEIGHT: {height}"
        case ByHash(digest=text):
            digest = parse_hash(text)
            found, text = None if digest is None else ledger.store.block_by_hash(digest), f"BLOCK: {text[:64]}"
    if found is None:
        raise errors.unknown_block(text)
    return found


class Methods:
    """All methods by name, on one chain."""

    def __init__(self, driver: Driver, identity: NodeIdentity, rpc_addr: str, polling_timeout_s: float) -> None:
        self._driver = driver
        self._identity = identity
        self._rpc_addr = rpc_addr
        self._polling_timeout_s = polling_timeout_s
        self._started_at = time.monotonic()
        self._total_supply = sum(account.balance for account in driver.genesis.accounts)
        self._methods: dict[str, Method] = {
            "status": self.status,
            "health": self._health,
            "block": self._block,
            "chunk": self._chunk,
            "gas_price": self._gas_price,
            "validators": self._validators,
            "network_info": self._network_info,
            "query": self._query,
            "send_tx": self._send_tx,
            "broadcast_tx_commit": self._send_tx,
            "broadcast_tx_async": self._broadcast_tx_async,
            "tx": self._tx,
            "EXPERIMENTAL_tx_status": self._tx_with_receipts,
            "EXPERIMENTAL_protocol_config": self._protocol_config,
            "EXPERIMENTAL_changes": self._changes,
            "changes": self._changes,
        }

    async def call(self, name: str, params: object) -> object:
        """The result of the method `name`.

        Raises:
            RpcError: there is no such method, the parameters do not fit, or the method's own error.
        """
        method = self._methods.get(name)
        if method is None:
            raise errors.method_not_found(name[:80])
        return await method(Params(params))

    @property
    def is_healthy(self) -> bool:
        """Whether blocks keep coming."""
        return self._driver.is_healthy

    @property
    def head_heights(self) -> tuple[int, int]:
        """Heights of the head and of the newest final block."""
        return self._driver.tip.head.height, self._driver.tip.final.height

    async def status(self, _params: Params) -> View:
        """Who the node is and how far it has come."""
        head = self._driver.tip.head
        earliest = await self._driver.ask(lambda ledger: ledger.earliest)
        identity = self._identity
        number = epoch_height(head.height)
        return {
            "version": _version(),
            "chain_id": self._driver.genesis.chain_id,
            "protocol_version": PROTOCOL_VERSION,
            "latest_protocol_version": PROTOCOL_VERSION,
            "rpc_addr": self._rpc_addr,
            "validators": [{"account_id": identity.validator_account_id}],
            "genesis_hash": hash_text(earliest.hash),
            "sync_info": {
                "latest_block_hash": hash_text(head.hash),
                "latest_block_height": head.height,
                "latest_state_root": hash_text(head.prev_state_root),
                "latest_block_time": time_text(head.timestamp_ns),
                "syncing": False,
                "earliest_block_hash": hash_text(earliest.hash),
                "earliest_block_height": earliest.height,
                "earliest_block_time": time_text(earliest.timestamp_ns),
                "epoch_id": views.epoch_id(head),
                "epoch_start_height": (number - 1) * EPOCH_LENGTH,
            },
            "validator_account_id": identity.validator_account_id,
            "validator_public_key": str(identity.validator_public_key),
            "node_public_key": str(identity.node_public_key),
            "node_key": str(identity.validator_public_key),
            "uptime_sec": int(time.monotonic() - self._started_at),
            "detailed_debug_status": None,
        }

    async def _health(self, _params: Params) -> None:
        if not self.is_healthy:
            raise errors.internal_error("no new blocks")

    async def _block(self, params: Params) -> View:
        reference = params.block_reference(0)

        def ask(ledger: Ledger) -> View:
            block = find_block(ledger, reference)
            before = ledger.store.block_by_hash(block.prev_hash)
            last_final = ZERO_HASH if before is None else before.prev_hash
            return views.block_view(block, last_final, self._identity.validator_account_id, self._total_supply)

        return await self._driver.ask(ask)

    async def _chunk(self, params: Params) -> View:
        chunk_id = params.get("chunk_id", 0)

        def ask(ledger: Ledger) -> View:
            block = _chunk_block(ledger, params, chunk_id)
            taken, executed = ledger.store.transactions_in(block.height), ledger.store.receipts_in(block.height)
            return views.chunk_view(block, taken, executed, self._identity.validator_account_id)

        return await self._driver.ask(ask)

    async def _gas_price(self, params: Params) -> View:
        reference = params.optional_block_reference(0)
        await self._driver.ask(lambda ledger: find_block(ledger, reference))
        return {"gas_price": str(fees.GAS_PRICE)}

    async def _validators(self, _params: Params) -> View:
        number = epoch_height(self._driver.tip.head.height)
        stake = {
            "validator_stake_struct_version": "V1",
            "account_id": self._identity.validator_account_id,
            "public_key": str(self._identity.validator_public_key),
            "stake": "0",
            "shards": [0],
        }
        current = {
            **stake,
            "is_slashed": False,
            "num_produced_blocks": 0,
            "num_expected_blocks": 0,
            "num_produced_chunks": 0,
            "num_expected_chunks": 0,
            "num_produced_chunks_per_shard": [0],
            "num_expected_chunks_per_shard": [0],
        }
        return {
            "current_validators": [current],
            "next_validators": [stake],
            "current_fishermen": [],
            "next_fishermen": [],
            "current_proposals": [],
            "prev_epoch_kickout": [],
            "epoch_start_height": (number - 1) * EPOCH_LENGTH,
            "epoch_height": number,
            "validator_reward_paid_prev_epoch": {},
        }

    async def _network_info(self, _params: Params) -> View:
        return {
            "active_peers": [],
            "num_active_peers": 0,
            "peer_max_count": MAX_PEERS,
            "sent_bytes_per_sec": 0,
            "received_bytes_per_sec": 0,
            "known_producers": [],
        }

    async def _query(self, params: Params) -> View:
        reference = params.block_reference()
        question = query.parse(params)
        return await self._driver.ask(lambda ledger: question(ledger, find_block(ledger, reference)))

    async def _send_tx(self, params: Params) -> View:
        transaction, until = params.transaction(), params.wait_until()
        if until is ExecutionStatus.NONE:
            await self._submit_unheard(transaction)
            return {"final_execution_status": until.value}
        try:
            await self._driver.submit(transaction)
        except InvalidTransactionError as error:
            raise errors.invalid_transaction(error) from None
        return await self._answer(transaction.hash, until)

    async def _broadcast_tx_async(self, params: Params) -> str:
        transaction = params.transaction()
        await self._submit_unheard(transaction)
        return hash_text(transaction.hash)

    async def _submit_unheard(self, transaction: SignedTransaction) -> None:
        """Submits without telling the client what became of it, as neard does; `tx` tells."""
        try:
            await self._driver.submit(transaction)
        except InvalidTransactionError:
            return

    async def _tx(self, params: Params) -> View:
        return await self._answer(*_asked_transaction(params))

    async def _tx_with_receipts(self, params: Params) -> View:
        return await self._answer(*_asked_transaction(params), with_receipts=True)

    async def _answer(self, tx_hash: bytes, until: ExecutionStatus, *, with_receipts: bool = False) -> View:
        try:
            inclusion = await self._driver.wait_for(tx_hash, until, self._polling_timeout_s)
        except InvalidTransactionError as error:
            raise errors.invalid_transaction(error) from None
        except UnknownTransactionError as error:
            raise errors.unknown_transaction(str(error)) from None
        except NotReachedError as error:
            pending = None if error.inclusion is None else await self._outcome(error.inclusion)
            raise errors.transaction_timeout(pending) from None
        if inclusion is None:
            return {"final_execution_status": ExecutionStatus.NONE.value}
        if until in STATUS_ONLY:
            return {"final_execution_status": self._driver.tip.status_of(inclusion).value}
        outcome = await self._outcome(inclusion)
        return {**outcome, "receipts": [views.receipt_view(inclusion)]} if with_receipts else outcome

    async def _outcome(self, inclusion: Inclusion) -> View:
        def ask(ledger: Ledger) -> View:
            block = find_block(ledger, ByHeight(inclusion.height))
            status, receipt_hash = ledger.tip.status_of(inclusion), None
            if inclusion.receipt_height is not None:
                receipt_hash = find_block(ledger, ByHeight(inclusion.receipt_height)).hash
            return views.final_outcome_view(inclusion, status, block.hash, receipt_hash)

        return await self._driver.ask(ask)

    async def _protocol_config(self, params: Params) -> View:
        reference = params.block_reference()
        await self._driver.ask(lambda ledger: find_block(ledger, reference))
        return views.protocol_config_view(self._driver.genesis)

    async def _changes(self, params: Params) -> View:
        kind, account_ids = params.text("changes_type"), params.account_ids("account_ids")
        prefix_of = CHANGE_PREFIXES.get(kind)
        if prefix_of is None:
            raise invalid(f"the dev chain does not serve changes of type `{kind[:40]}`")
        data_prefix = params.base64("key_prefix_base64") if kind == "data_changes" else b""
        reference = params.block_reference()

        def ask(ledger: Ledger) -> View:
            block = find_block(ledger, reference)
            found = [
                views.change_view(change, account_id)
                for account_id in account_ids
                for change in ledger.store.changes_in(block.height, prefix_of(account_id) + data_prefix)
            ]
            return {"block_hash": hash_text(block.hash), "changes": found}

        return await self._driver.ask(ask)


def _asked_transaction(params: Params) -> tuple[bytes, ExecutionStatus]:
    """The hash a `tx` request asks for and how far it must have come; the second parameter is not needed here."""
    text, until = params.text("tx_hash", 0), params.wait_until()
    digest = parse_hash(text)
    if digest is None:
        raise errors.unknown_transaction(text[:64])
    return digest, until


def _chunk_block(ledger: Ledger, params: Params, chunk_id: object) -> Block:
    """The block whose chunk is asked for, by chunk hash or by block and shard."""
    if chunk_id is None:
        if params.get("shard_id") not in (0, None):
            raise invalid("the dev chain has the shard 0 only")
        return find_block(ledger, params.block_reference())
    digest = parse_hash(chunk_id) if isinstance(chunk_id, str) else None
    block = None if digest is None else ledger.store.block_by_chunk_hash(digest)
    if block is None:
        raise errors.unknown_chunk(str(chunk_id)[:64])
    return block


def _version() -> View:
    try:
        number = version("sharekeeper_devnet")
    except PackageNotFoundError:
        number = "0"
    return {"version": number, "build": "sharekeeper-devnet", "commit": "0", "rustc_version": "0"}
