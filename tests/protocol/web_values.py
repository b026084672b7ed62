"""Values of one exchange of version 2 between Alice's node and her backup service, and both sides of it."""

from dataclasses import replace

from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.ephemeral import EphemeralKeys, EphemeralRecord, ExchangeId, PublishedRecord
from sharekeeper.domain.identity import NetworkId
from sharekeeper.protocol.key_exchange import KeyExchange, KeyExchangeClient, KeyExchangeServer
from sharekeeper.protocol.messages import Exchange
from sharekeeper.protocol.session import WebBackupClient, WebRecoveryClient
from sharekeeper.secret import Secret

from .exchange_values import BACKUP_SERVICE, NETWORK, NODE, RECOVERY_ID, facts

EXCHANGE_ID = ExchangeId("0f" * 16)
CLIENT_SECRET, SERVER_SECRET = bytes([11]) * 32, bytes([12]) * 32
HEIGHT, EXPIRES_ON = 1000, 1100
BACKUP = WebBackupClient(**facts()).exchange
RECOVERY = WebRecoveryClient(**facts(recovery_id=RECOVERY_ID)).exchange
PURPOSES = {"backup": BACKUP, "recovery": RECOVERY}


def client(exchange: Exchange = BACKUP, **changes) -> KeyExchangeClient:
    values = {
        "exchange_id": EXCHANGE_ID,
        "secret": Secret(CLIENT_SECRET),
        "tls": BACKUP_SERVICE,
        "expires_on": EXPIRES_ON,
    }
    return KeyExchangeClient(exchange, **(values | changes))


def server(opening: PublishedRecord, exchange: Exchange = BACKUP, **changes) -> KeyExchangeServer:
    values = {"opening": opening, "secret": Secret(SERVER_SECRET), "tls": NODE, "height": HEIGHT}
    return KeyExchangeServer(exchange, **(values | changes))


def published(side: KeyExchange) -> PublishedRecord:
    """The side's record as the contract shows it."""
    return signed(side.record, None, signature=side.signature)


def signed(
    record: EphemeralRecord,
    key: KeyPair | None,
    *,
    signature: bytes = b"",
    network: NetworkId = NETWORK,
    submitted_in: int = HEIGHT - 1,
) -> PublishedRecord:
    """Any record, signed by any key."""
    made = signature if key is None else key.sign(record.canonical(network))
    return PublishedRecord(record=record, claimed_hash=record.hash(network), signature=made, submitted_in=submitted_in)


def changed(published: PublishedRecord, key: KeyPair, **fields) -> PublishedRecord:
    """That record with other fields, signed anew by `key`."""
    return signed(replace(published.record, **fields), key)


def opened(exchange: Exchange = BACKUP) -> tuple[KeyExchangeClient, KeyExchangeServer, EphemeralKeys]:
    """Both sides after both records are final."""
    opener = client(exchange)
    answerer = server(published(opener), exchange)
    return opener, answerer, EphemeralKeys(backup_service=published(opener), node=published(answerer))
