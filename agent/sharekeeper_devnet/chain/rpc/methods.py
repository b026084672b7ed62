"""The JSON-RPC methods: each reads its parameters, asks the chain, and returns neard's body."""

import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TypeAlias

from sharekeeper_devnet.chain import fees
from sharekeeper_devnet.chain.block import Block
from sharekeeper_devnet.chain.driver import Driver, NotReachedError
from sharekeeper_devnet.chain.genesis import EPOCH_LENGTH, PROTOCOL_VERSION, time_text
from sharekeeper_devnet.chain.inclusion import Inclusion
from sharekeeper_devnet.chain.ledger import ExecutionStatus, Ledger, UnknownTransactionError, epoch_height
from sharekeeper_devnet.chain.primitives import ZERO_HASH, hash_text, parse_hash
from sharekeeper_devnet.chain.rejection import InvalidTransactionError
from sharekeeper_devnet.chain.rpc import changes, errors, query, views
from sharekeeper_devnet.chain.rpc.blocks import find_block, find_state, lookup
from sharekeeper_devnet.chain.rpc.params import ByHash, ByHeight, Params, invalid
from sharekeeper_devnet.chain.rpc.protocol_config import protocol_config_view
from sharekeeper_devnet.chain.rpc.views import NodeIdentity, View
from sharekeeper_devnet.chain.transaction import SignedTransaction

Method: TypeAlias = Callable[[Params], Awaitable[object]]

MAX_PEERS = 40


class Methods:
    """All methods by name, on one chain."""

    def __init__(self, driver: Driver, identity: NodeIdentity, rpc_addr: str, polling_timeout_s: float) -> None:
        self._driver = driver
        self._identity = identity
        self._rpc_addr = rpc_addr
        self._polling_timeout_s = polling_timeout_s
        self._started_at = time.monotonic()
        self._total_supply = sum(account.balance for account in driver.genesis.accounts)
        self._methods: Mapping[str, Method] = {
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
            "tx_status": self._tx_with_receipts,
            "EXPERIMENTAL_tx_status": self._tx_with_receipts,
            "EXPERIMENTAL_receipt": self._receipt,
            "EXPERIMENTAL_protocol_config": self._protocol_config,
            "next_light_client_block": self._next_light_client_block,
            "changes": self._asked(changes.changes),
            "EXPERIMENTAL_changes": self._asked(changes.changes),
            "block_effects": self._asked(changes.block_effects),
            "EXPERIMENTAL_changes_in_block": self._asked(changes.block_effects),
            **{f"EXPERIMENTAL_{kind}": self._view(read) for kind, read in query.PARSERS.items()},
        }

    @property
    def names(self) -> frozenset[str]:
        """The methods served."""
        return frozenset(self._methods)

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
            raise errors.no_new_blocks(time.time() - self._driver.tip.head.timestamp_ns / 10**9)

    async def _block(self, params: Params) -> View:
        reference = params.block_reference(0)

        def ask(ledger: Ledger) -> View:
            block = find_block(ledger, reference)
            before = ledger.store.block_by_hash(block.prev_hash)
            last_final = ZERO_HASH if before is None else before.prev_hash
            return views.block_view(block, last_final, self._identity.validator_account_id, self._total_supply)

        return await self._driver.ask(ask)

    async def _chunk(self, params: Params) -> View:
        def ask(ledger: Ledger) -> View:
            block = _chunk_block(ledger, params)
            taken, executed = ledger.store.transactions_in(block.height), ledger.store.receipts_in(block.height)
            return views.chunk_view(block, taken, executed, self._identity.validator_account_id)

        return await self._driver.ask(ask)

    async def _gas_price(self, params: Params) -> View:
        reference = params.optional_block_reference(0)
        await self._driver.ask(lambda ledger: find_block(ledger, reference))
        return {"gas_price": str(fees.GAS_PRICE)}

    async def _validators(self, params: Params) -> View:
        await self._driver.ask(lambda ledger: _check_epoch(ledger, params))
        number = epoch_height(self._driver.tip.head.height)
        current = {
            **self._validator(),
            "is_slashed": False,
            "shards": [0],
            "num_produced_blocks": 0,
            "num_expected_blocks": 0,
            "num_produced_chunks": 0,
            "num_expected_chunks": 0,
            "num_produced_chunks_per_shard": [0],
            "num_expected_chunks_per_shard": [0],
            "num_produced_endorsements": 0,
            "num_expected_endorsements": 0,
            "num_produced_endorsements_per_shard": [0],
            "num_expected_endorsements_per_shard": [0],
            "shards_endorsed": [0],
        }
        return {
            "current_validators": [current],
            "next_validators": [{**self._validator(), "shards": [0]}],
            "current_fishermen": [],
            "next_fishermen": [],
            "current_proposals": [],
            "prev_epoch_kickout": [],
            "epoch_start_height": (number - 1) * EPOCH_LENGTH,
            "epoch_height": number,
            "validator_reward_paid_prev_epoch": {},
        }

    def _validator(self) -> View:
        return {
            "account_id": self._identity.validator_account_id,
            "public_key": str(self._identity.validator_public_key),
            "stake": "0",
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

    def _asked(self, read: Callable[[Params], Callable[[Ledger], View]]) -> Method:
        async def method(params: Params) -> View:
            return await self._driver.ask(read(params))

        return method

    def _view(self, read: Callable[[Params], query.Question]) -> Method:
        async def method(params: Params) -> View:
            reference = params.block_reference()
            question = read(params)
            return await self._driver.ask(lambda ledger: question(ledger, find_state(ledger, reference)))

        return method

    async def _query(self, params: Params) -> object:
        try:
            return await self._view(query.parse)(params)
        except errors.QueryError as error:
            return error.result

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
        if inclusion is None:  # it waits for a block; only who waits for nothing comes here
            raise errors.unknown_transaction(hash_text(tx_hash))
        outcome = await self._outcome(inclusion)
        receipts = [views.receipt_view(each.receipt) for each in inclusion.receipts if each.receipt.is_action]
        return {**outcome, "receipts": receipts} if with_receipts else outcome

    async def _outcome(self, inclusion: Inclusion) -> View:
        def ask(ledger: Ledger) -> View:
            status = ledger.tip.status_of(inclusion)
            return views.final_outcome_view(inclusion, status, lambda height: find_block(ledger, ByHeight(height)).hash)

        return await self._driver.ask(ask)

    async def _receipt(self, params: Params) -> View:
        receipt_id = params.hash("receipt_id")
        found = await self._driver.ask(lambda ledger: ledger.store.receipt(receipt_id))
        if found is None:
            raise errors.unknown_receipt(hash_text(receipt_id))
        return views.receipt_view(found.receipt)

    async def _protocol_config(self, params: Params) -> View:
        reference = params.block_reference()
        await self._driver.ask(lambda ledger: find_block(ledger, reference))
        return protocol_config_view(self._driver.genesis)

    async def _next_light_client_block(self, params: Params) -> View:
        last = ByHash(params.hash("last_block_hash", 0))

        def ask(ledger: Ledger) -> View:
            known, final = find_block(ledger, last), ledger.tip.final
            if final.height <= known.height:
                return {}
            validator = {"validator_stake_struct_version": "V1", **self._validator()}
            return views.light_client_block_view(final, validator)

        return await self._driver.ask(ask)


def _asked_transaction(params: Params) -> tuple[bytes, ExecutionStatus]:
    """The transaction a `tx` request asks for and how far it must have come; who sent it is not needed here."""
    until = params.wait_until()
    if params.get("tx_hash", 0) is None and params.get("signed_tx_base64") is not None:
        return params.transaction().hash, until
    text = params.text("tx_hash", 0)
    digest = parse_hash(text)
    if digest is None:
        raise errors.unknown_transaction(text[:64])
    return digest, until


def _chunk_block(ledger: Ledger, params: Params) -> Block:
    """The block whose chunk is asked for, by chunk hash or by block and shard."""
    if params.get("chunk_id", 0) is None:
        shard_id = params.get("shard_id")
        if not isinstance(shard_id, int) or isinstance(shard_id, bool):
            raise invalid("a chunk is named by `chunk_id`, or by `block_id` and `shard_id`")
        block = find_block(ledger, params.block_reference())
        if shard_id != 0:
            raise errors.invalid_shard_id(shard_id)
        return block
    digest = params.hash("chunk_id", 0)
    found = ledger.store.block_by_chunk_hash(digest)
    if found is None:
        raise errors.unknown_chunk(hash_text(digest))
    return found


def _check_epoch(ledger: Ledger, params: Params) -> None:
    """Returns when validators are asked for now, for the current epoch, or for the last block of an epoch."""
    epoch = params.get("epoch_id")
    if epoch is not None and epoch != views.epoch_id(ledger.tip.head):
        raise errors.unknown_epoch()
    if params.get("block_id", 0) is None:
        return
    block = lookup(ledger, params.block_reference(0))
    if block is None:
        raise errors.unknown_epoch()
    if epoch_height(block.height + 1) == epoch_height(block.height):
        raise errors.validator_info_unavailable()


def _version() -> View:
    try:
        number = version("sharekeeper_devnet")
    except PackageNotFoundError:
        number = "0"
    return {"version": number, "build": "sharekeeper-devnet", "commit": "0", "rustc_version": "0"}
