"""Attempts of key events played in memory: every session asks every other, as the nodes do over their channels."""

import secrets
from collections.abc import Callable, Collection

from sharekeeper.domain.identity import AccountId, NetworkId, TlsKey
from sharekeeper.domain.keyset import Curve, KeyEventId, KeysetDigest
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper_devnet.network.curves import GROUPS, interpolate, scalar_from_bytes, share_identifier
from sharekeeper_devnet.network.keygen import key_generation
from sharekeeper_devnet.network.resharing import resharing
from sharekeeper_devnet.network.session import Session
from sharekeeper_devnet.network.sharing import Attempt, Party

NETWORK = NetworkId(chain_id="dev", genesis_hash="g", contract_id=AccountId("mpc.test.near"))


def parties(ids: Collection[int]) -> tuple[Party, ...]:
    return tuple(Party(participant_id=each, tls_key=TlsKey(bytes([each + 1]) * 32)) for each in ids)


def attempt_of(
    curve: Curve,
    *,
    dealers: Collection[int],
    recipients: Collection[int],
    threshold: int,
    epoch: int = 5,
    number: int = 0,
) -> Attempt:
    return Attempt(
        network=NETWORK,
        key_event=KeyEventId(epoch_id=epoch, domain_id=0, attempt_id=number),
        curve=curve,
        keyset=KeysetDigest("00" * 32),
        threshold=threshold,
        dealers=parties(dealers),
        recipients=parties(recipients),
    )


def generation(
    curve: Curve = Curve.ED25519, ids: Collection[int] = (0, 1, 2), threshold: int = 2, number: int = 0
) -> dict[int, Session]:
    """A fresh session of each participant."""
    attempt = attempt_of(curve, dealers=ids, recipients=ids, threshold=threshold, number=number)
    return {own: key_generation(attempt, own, secrets.randbelow) for own in ids}


def resharing_of(
    shares: dict[int, KeyShare],
    *,
    old_threshold: int,
    recipients: Collection[int],
    threshold: int,
    dealers: Collection[int] | None = None,
    number: int = 0,
) -> dict[int, Session]:
    """A fresh session of each recipient and of each living dealer; all holders of `shares` are dealers by right."""
    some = next(iter(shares.values()))
    attempt = attempt_of(
        some.curve, dealers=tuple(shares), recipients=recipients, threshold=threshold, epoch=6, number=number
    )
    return {
        own: resharing(
            attempt,
            own=own,
            old_share=shares[own].private_share if own in shares else None,
            old_threshold=old_threshold,
            public_key=some.public_key,
            random_below=secrets.randbelow,
        )
        for own in {*recipients, *(shares if dealers is None else dealers)}
    }


def play(sessions: dict[int, Session], twist: Callable[[int, int, object], object] = lambda _from, _to, it: it):
    """Every recipient's key share. `twist` may change what one participant tells another."""
    recipients = [own for own, session in sessions.items() if session.is_recipient]
    for own in recipients:
        for dealer in sessions[own].dealers & sessions.keys() - {own}:
            if sessions[dealer].dealt is not None:
                sessions[own].take_dealing(dealer, twist(dealer, own, sessions[dealer].dealing()))
    leader = sessions[min(recipients)]
    assert leader.choose()
    for own in recipients:
        assert own == leader.own or sessions[own].adopt(twist(leader.own, own, leader.agreement()))
    for own in recipients:
        for other in set(recipients) - {own}:
            sessions[own].confirm(other, twist(other, own, sessions[other].agreement()))
        for dealer in set(sessions[own].agreement().dealers) - {own}:
            sessions[own].take_share(dealer, twist(dealer, own, sessions[dealer].share_for(own)))
    return {own: sessions[own].key_share() for own in recipients}


def generated(curve: Curve, ids: Collection[int], threshold: int) -> dict[int, KeyShare]:
    return play(generation(curve, ids, threshold))


def public_key_of(shares: dict[int, KeyShare], holders: Collection[int]) -> bytes:
    """The key that those holders' shares make."""
    curve = shares[next(iter(holders))].curve
    points = {
        share_identifier(each): GROUPS[curve].base_multiple(
            scalar_from_bytes(curve, shares[each].private_share.reveal())
        )
        for each in holders
    }
    return interpolate(curve, points)
