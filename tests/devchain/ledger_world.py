"""A ledger without RPC: transactions in, blocks by hand, and the sum of all money after each block."""

import base64
import hashlib
from pathlib import Path

from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, Genesis, GenesisAccount
from sharekeeper_devnet.chain import state as chain_state
from sharekeeper_devnet.chain.block import ActionFailure, SuccessValue
from sharekeeper_devnet.chain.fees import bought_gas, deposit
from sharekeeper_devnet.chain.inclusion import Inclusion
from sharekeeper_devnet.chain.ledger import Ledger
from sharekeeper_devnet.chain.receipt import ActionReceipt, Receipt, ReceiptRecord, encode_action
from sharekeeper_devnet.chain.store import Store
from sharekeeper_devnet.chain.transaction import DeleteAccount, SignedTransaction, decode_signed_transaction
from sharekeeper_devnet.runtime import PublicKey
from tests.devchain.conftest import ALICE, TERA, Key
from tests.devchain.promise_wat import SCRIPT_WASM, Script

CONTRACTS = ("one.near", "two.near", "three.near")
USER = "alice.near"


def script_genesis(**fields) -> Genesis:
    """A user with a key, and three accounts with the script contract."""
    contracts = [
        GenesisAccount(
            account_id=name,
            balance=1_000 * NEAR,
            code=SCRIPT_WASM,
            keys=GenesisAccount.with_full_access_key(name, ALICE.public).keys,
        )
        for name in CONTRACTS
    ]
    user = GenesisAccount.with_full_access_key(USER, ALICE.public, 1_000 * NEAR)
    return Genesis(**{"chain_id": "dev", "genesis_time_ns": 1, "accounts": (user, *contracts), **fields})


class World:
    """A ledger on a directory, which can be stopped and started."""

    def __init__(self, directory: Path, genesis: Genesis | None = None) -> None:
        self.genesis = script_genesis() if genesis is None else genesis
        self.directory = directory
        self.ledger = Ledger(Store(directory), self.genesis)
        self.nonce = 0
        self.burnt = 0

    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger(Store(self.directory), self.genesis)

    def sign(self, receiver_id: str, actions: list, *, signer_id: str = USER, key: Key = ALICE) -> SignedTransaction:
        self.nonce += 1
        block_hash = self.ledger.tip.head.hash
        if isinstance(actions[-1], DeleteAccount):
            return self._sign_by_hand(receiver_id, actions, signer_id, key)
        signed = py_near.sign_and_serialize_transaction(
            signer_id, key.secret, receiver_id, self.nonce, actions, block_hash
        )
        return decode_signed_transaction(base64.b64decode(signed))

    def _sign_by_hand(self, receiver_id: str, actions: list, signer_id: str, key: Key) -> SignedTransaction:
        """A transaction with actions that py-near cannot make."""

        def text(value: str) -> bytes:
            return len(value).to_bytes(4, "little") + value.encode()

        head = text(signer_id) + PublicKey.from_text(key.public).borsh + self.nonce.to_bytes(8, "little")
        body = len(actions).to_bytes(4, "little") + b"".join(map(encode_action, actions))
        unsigned = head + text(receiver_id) + self.ledger.tip.head.hash + body
        return decode_signed_transaction(unsigned + b"\0" + key.private.sign(hashlib.sha256(unsigned).digest()))

    def submit(self, receiver_id: str, actions: list, **fields) -> bytes:
        transaction = self.sign(receiver_id, actions, **fields)
        self.ledger.submit(transaction)
        return transaction.hash

    def run(
        self, script: Script, receiver_id: str = "one.near", *, gas: int = 300 * TERA, deposit: int = 0
    ) -> Inclusion:
        """The transaction that runs `script` on a contract, once all that came of it is done."""
        return self.finish(self.start(script, receiver_id, gas=gas, deposit=deposit))

    def start(self, script: Script, receiver_id: str = "one.near", *, gas: int = 300 * TERA, deposit: int = 0) -> bytes:
        return self.submit(receiver_id, [call(script, gas=gas, deposit=deposit)])

    def finish(self, tx_hash: bytes) -> Inclusion:
        for _ in range(40):
            self.produce_block()
            inclusion = self.ledger.progress(tx_hash)
            if inclusion is not None and all(each.executed_height is not None for each in inclusion.receipts):
                return inclusion
        raise AssertionError("the transaction does not come to an end")

    def produce_block(self, height: int | None = None) -> list[ReceiptRecord]:
        executed = self.ledger.produce_block(1, height)
        new = self.ledger.tip.head.height
        self.burnt += sum(each.outcome.tokens_burnt for each in self.ledger.store.transactions_in(new))
        self.burnt += sum(map(burns, executed))
        assert self.money() == sum(account.balance for account in self.genesis.accounts)
        return executed

    def balance(self, account_id: str) -> int:
        account = chain_state.read_account(self.ledger.state_at(self.ledger.tip.head), account_id)
        return 0 if account is None else account.amount

    def exists(self, account_id: str) -> bool:
        return chain_state.read_account(self.ledger.state_at(self.ledger.tip.head), account_id) is not None

    def money(self) -> int:
        """All there is: balances, what open receipts carry, and what was burnt."""
        state = self.ledger.state_at(self.ledger.tip.head)
        balances = sum(chain_state.decode_account(amount).amount for _, amount in state.scan(b"a:"))
        carried = sum(carries(record.receipt) for record in self.ledger.store.open_receipts())
        return balances + carried + self.burnt


def carries(receipt: Receipt) -> int:
    """YoctoNEAR that a receipt holds until it runs."""
    if not isinstance(receipt.body, ActionReceipt):
        return 0
    gas = 0 if receipt.is_refund else bought_gas(receipt.receiver_id, receipt.body.actions)
    return sum(map(deposit, receipt.body.actions)) + gas * receipt.body.gas_price


def burns(record: ReceiptRecord) -> int:
    """YoctoNEAR that were burnt when a receipt ran; all of a refund that nobody is there to take."""
    if record.outcome is None:
        return 0
    lost = record.receipt.is_refund and isinstance(record.outcome.status, ActionFailure)
    return record.outcome.tokens_burnt + (carries(record.receipt) if lost else 0)


def call(script: Script, *, gas: int = 300 * TERA, deposit: int = 0):
    return py_near.create_function_call_action("run", bytes(script), gas, deposit)


def value(inclusion: Inclusion) -> bytes:
    """What the transaction returned."""
    result = inclusion.result()
    assert isinstance(result, SuccessValue), result
    return result.value


def failure(inclusion: Inclusion) -> object:
    """Why the transaction failed."""
    result = inclusion.result()
    assert isinstance(result, ActionFailure), result
    return result.kind


def logs(inclusion: Inclusion) -> list[tuple[str, str]]:
    """What was logged, each with who logged it."""
    return [(each.outcome.executor_id, line) for each in inclusion.executed() for line in each.outcome.logs]
