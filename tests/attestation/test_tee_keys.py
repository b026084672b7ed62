"""Keys that the TEE derives: the same after a restart, others for every account, contract, network and use."""

import hashlib
import json
from dataclasses import replace

import pytest
from aiohttp import web

from sharekeeper.adapters.dstack import GuestAgent
from sharekeeper.adapters.tee_keys import vault_identity, vault_signing_key
from sharekeeper.crypto.sealing import recipient_of, seal, unseal
from sharekeeper.domain.identity import AccountId
from sharekeeper.errors import AttestationUnavailable
from sharekeeper.secret import Secret
from tests.attestation.test_dstack import guest_agent, saying
from tests.unit.protocol_values import ALICE, BOB, NETWORK


def deriving(sealing_key):
    """A guest agent that derives as dstack does: from the sealing key and the path alone."""

    async def answer(request):
        asked = json.loads(await request.read())
        key = hashlib.sha256(sealing_key + asked["path"].encode()).hexdigest()
        return web.json_response({"key": key, "signature_chain": []})

    return answer


@pytest.fixture
def socket(tmp_path):
    return tmp_path / "dstack.sock"


async def keys_of(socket, sealing_key=b"host", network=NETWORK, account_id=ALICE):
    guest = GuestAgent((socket,))
    async with guest_agent(socket, deriving(sealing_key)):
        return (
            await vault_identity(guest, network, account_id),
            await vault_signing_key(guest, network, account_id),
        )


async def test_the_same_tee_has_the_same_keys_after_a_restart(socket):
    assert await keys_of(socket) == await keys_of(socket)


async def test_another_tee_does_not_open_what_this_one_sealed(socket):
    identity, _ = await keys_of(socket)
    other, _ = await keys_of(socket, sealing_key=b"another host")
    sealed = seal(Secret(b"shares"), (recipient_of(identity),))
    assert unseal(sealed, identity) == Secret(b"shares")
    with pytest.raises(ValueError, match="does not open"):
        unseal(sealed, other)


async def test_no_two_accounts_contracts_or_networks_have_a_key_in_common(socket):
    owners = [
        (NETWORK, ALICE),
        (NETWORK, BOB),
        (replace(NETWORK, contract_id=AccountId("other.test.near")), ALICE),
        (replace(NETWORK, chain_id="other"), ALICE),
        (replace(NETWORK, genesis_hash="4" * 44), ALICE),
    ]
    found = set()
    for network, account_id in owners:
        identity, signing = await keys_of(socket, network=network, account_id=account_id)
        found |= {identity.reveal(), signing.seed.reveal()}
    assert len(found) == 2 * len(owners)


async def test_the_vault_does_not_open_without_the_guest_agent(socket):
    async with guest_agent(socket, saying(500, b'{"error": "no key provider"}')):
        with pytest.raises(AttestationUnavailable, match="no key provider"):
            await vault_identity(GuestAgent((socket,)), NETWORK, ALICE)
