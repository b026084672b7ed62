"""The genesis file: what is written is read back, what makes no sense is refused."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sharekeeper_devnet.chain import Genesis, GenesisAccount, InvalidGenesisError
from sharekeeper_devnet.chain.genesis import decode_accounts, decode_genesis, encode_genesis, time_text
from sharekeeper_devnet.chain.primitives import hash_text, parse_hash
from sharekeeper_devnet.chain.transaction import AccessKey, FullAccess, FunctionCallAccess
from sharekeeper_devnet.runtime import PublicKey
from tests.devchain.conftest import ALICE, BOB, CAROL, genesis

CALL = FunctionCallAccess(allowance=5, receiver_id="mpc.near", method_names=("a",))
UNLIMITED = FunctionCallAccess(allowance=None, receiver_id="mpc.near", method_names=())
KEYS = tuple(
    (PublicKey.from_text(key.public), AccessKey(nonce=nonce, permission=permission))
    for nonce, (key, permission) in enumerate([(ALICE, FullAccess()), (BOB, CALL), (CAROL, UNLIMITED)])
)
FULL = Genesis(
    chain_id="dev",
    genesis_time_ns=1_700_000_000_123_456_789,
    genesis_height=7,
    transaction_validity_period=100,
    accounts=(
        GenesisAccount(account_id="test.near", balance=10**33, keys=KEYS, code=b"\0asm"),
        GenesisAccount(account_id="empty.near", balance=0),
    ),
)


def test_a_genesis_reads_back_as_written_and_keeps_its_digest():
    assert decode_genesis(encode_genesis(FULL)) == FULL
    assert decode_genesis(encode_genesis(FULL)).digest == FULL.digest


@pytest.mark.parametrize("field", ["chain_id", "genesis_time", "genesis_height", "transaction_validity_period"])
def test_every_field_counts_in_the_digest(field):
    file = json.loads(encode_genesis(FULL))
    file[field] = {
        "chain_id": "other",
        "genesis_time": "2023-11-14T22:13:20Z",
        "genesis_height": 8,
        "transaction_validity_period": 101,
    }[field]
    assert decode_genesis(json.dumps(file)).digest != FULL.digest


def changed(change) -> str:
    file = json.loads(encode_genesis(FULL))
    change(file)
    return json.dumps(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "cannot be read"),
        ("[]", "cannot be read"),
        ("{}", "lacks the field 'chain_id'"),
        (changed(lambda file: file.update(genesis_time="yesterday")), "cannot be read"),
        (changed(lambda file: file.update(genesis_height=-1)), "whole number"),
        (changed(lambda file: file.update(genesis_height=True)), "whole number"),
        (changed(lambda file: file.update(records=7)), "cannot be read"),
        (changed(lambda file: file["records"].pop(0)), "before its Account record"),
        (changed(lambda file: file["records"].append({"Data": {"account_id": "test.near"}})), "kind Data"),
        (changed(lambda file: file["records"].append({"Account": {}})), "lacks the field"),
        (changed(lambda file: file["records"].append(file["records"][1] | {"x": 1})), "cannot be read"),
        (changed(lambda file: file["records"][1]["AccessKey"].update(public_key="x")), "is no public key"),
        (changed(lambda file: file["records"][4]["Contract"].update(code="%")), "not base64"),
        (changed(lambda file: file["records"].append(file["records"][0])), "more than once"),
        (changed(lambda file: file["records"][5]["Account"].update(account_id="A")), "is no account id"),
    ],
)
def test_a_genesis_that_makes_no_sense_is_refused(text, message):
    with pytest.raises(InvalidGenesisError, match=message):
        decode_genesis(text)


@given(st.text())
def test_any_text_is_refused_as_genesis_and_as_accounts(text):
    with pytest.raises(InvalidGenesisError):
        decode_genesis(text)
    if text.strip() not in {"[]", "{}", '""'}:
        with pytest.raises(InvalidGenesisError):
            decode_accounts(text)


def test_times_are_written_as_neard_writes_them():
    assert time_text(1_700_000_000_000_000_001) == "2023-11-14T22:13:20.000000001Z"


async def test_genesis_keys_and_contract_are_in_the_state(client):
    view = await client.query("view_access_key_list", account_id="alice.test.near", block_id=0)
    assert [key["public_key"] for key in view["keys"]] == [ALICE.public]
    account = await client.query("view_account", account_id="counter.test.near", block_id=0)
    assert account["amount"] == str(100 * 10**24)
    assert genesis().digest == client.chain._driver.genesis.digest


@pytest.mark.parametrize("text", ["", "1" * 33, "1" * 45, "0OIl", "ü", hash_text(bytes(31))])
def test_a_text_that_is_no_hash_is_none(text):
    assert parse_hash(text) is None


def test_a_hash_reads_back():
    assert parse_hash(hash_text(bytes(range(32)))) == bytes(range(32))
