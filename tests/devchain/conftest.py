"""A dev chain, keys, transactions signed by py-near, and a bare JSON-RPC client."""

import base64
import io
import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import base58
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from py_near import transactions as py_near

from sharekeeper_devnet.chain import NEAR, DevChain, Genesis, GenesisAccount
from tests.devchain.wasm import COUNTER_WASM

TERA = 10**12


@dataclass(frozen=True)
class Key:
    """An Ed25519 access key, made from one byte so that tests can name keys."""

    private: Ed25519PrivateKey

    @classmethod
    def numbered(cls, number: int) -> "Key":
        return cls(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))

    @property
    def public(self) -> str:
        raw = self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        return "ed25519:" + base58.b58encode(raw).decode()

    @property
    def secret(self) -> bytes:
        """Seed and public key, 64 bytes, as py-near wants them."""
        seed = self.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return seed + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


ALICE, BOB, CAROL = Key.numbered(1), Key.numbered(2), Key.numbered(3)


def genesis(**fields) -> Genesis:
    accounts = (
        GenesisAccount.with_full_access_key("test.near", ALICE.public, 10**6 * NEAR),
        GenesisAccount.with_full_access_key("alice.test.near", ALICE.public, 1_000 * NEAR),
        GenesisAccount.with_full_access_key("bob.test.near", BOB.public, 1_000 * NEAR),
        GenesisAccount(account_id="counter.test.near", balance=100 * NEAR, code=COUNTER_WASM),
    )
    return Genesis(**{"chain_id": "dev", "genesis_time_ns": 1_700_000_000 * 10**9, "accounts": accounts, **fields})


class RpcFailure(Exception):
    def __init__(self, http_status: int, error: dict) -> None:
        super().__init__(f"{http_status} {error}")
        self.http_status = http_status
        self.error = error

    @property
    def cause(self) -> str:
        return self.error["cause"]["name"]

    @property
    def invalid_tx(self):
        return self.error["data"]["TxExecutionError"]["InvalidTxError"]


@dataclass
class Client:
    """JSON-RPC to one dev chain, and transactions with nonces looked up."""

    chain: DevChain
    session: aiohttp.ClientSession
    nonces: dict[tuple[str, str], int] = field(default_factory=dict)

    async def rpc(self, method: str, params: object = ()):
        body = {"jsonrpc": "2.0", "id": "7", "method": method, "params": list(params) if params == () else params}
        data, headers = io.BytesIO(json.dumps(body).encode()), {"Content-Type": "application/json"}
        async with self.session.post(self.chain.rpc_url, data=data, headers=headers) as response:
            answer = await response.json()
            assert answer["jsonrpc"] == "2.0"
            assert answer["id"] == "7"
            if "error" in answer:
                raise RpcFailure(response.status, answer["error"])
            assert response.status == 200
            return answer["result"]

    async def query(self, request_type: str, **params):
        if "block_id" not in params:
            params.setdefault("finality", "optimistic")
        return await self.rpc("query", {"request_type": request_type, **params})

    async def block_hash(self) -> bytes:
        return base58.b58decode((await self.rpc("block", {"finality": "final"}))["header"]["hash"])

    async def next_nonce(self, account_id: str, key: Key) -> int:
        known = self.nonces.get((account_id, key.public))
        if known is None:
            view = await self.query("view_access_key", account_id=account_id, public_key=key.public)
            known = view["nonce"]
        self.nonces[account_id, key.public] = known + 1
        return known + 1

    async def sign(self, signer_id, key, receiver_id, actions, *, nonce=None, block_hash=None) -> str:
        nonce = await self.next_nonce(signer_id, key) if nonce is None else nonce
        block_hash = await self.block_hash() if block_hash is None else block_hash
        return py_near.sign_and_serialize_transaction(signer_id, key.secret, receiver_id, nonce, actions, block_hash)

    async def send(self, signer_id, key, receiver_id, actions, *, wait_until="FINAL", **fields):
        signed = await self.sign(signer_id, key, receiver_id, actions, **fields)
        return await self.rpc("send_tx", {"signed_tx_base64": signed, "wait_until": wait_until})

    async def call(self, method_name, args=b"", *, gas=30 * TERA, deposit=0, receiver_id="counter.test.near", **fields):
        action = py_near.create_function_call_action(method_name, args, gas, deposit)
        return await self.send("alice.test.near", ALICE, receiver_id, [action], **fields)

    async def view(self, method_name, args=b"", account_id="counter.test.near", **fields):
        encoded = base64.b64encode(args).decode()
        return await self.query(
            "call_function", account_id=account_id, method_name=method_name, args_base64=encoded, **fields
        )

    async def balance(self, account_id: str) -> int:
        return int((await self.query("view_account", account_id=account_id))["amount"])


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[DevChain]:
    """A chain with a block every 20 ms."""
    async with DevChain(tmp_path / "data", genesis(), block_time_ms=20, polling_timeout_s=5) as running:
        yield running


@pytest.fixture
async def client(chain: DevChain) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(chain, session)


@pytest.fixture
async def manual_chain(tmp_path: Path) -> AsyncIterator[DevChain]:
    """A chain whose blocks are made by the test."""
    started = genesis(genesis_time_ns=time.time_ns(), transaction_validity_period=10)
    async with DevChain(tmp_path / "data", started, block_time_ms=None, polling_timeout_s=0.3) as running:
        yield running


@pytest.fixture
async def manual_client(manual_chain: DevChain) -> AsyncIterator[Client]:
    async with aiohttp.ClientSession() as session:
        yield Client(manual_chain, session)
