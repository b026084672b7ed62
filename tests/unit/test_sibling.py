"""What a backup service knows of its sibling: asked when something changed, and again and again."""

from asyncio import CancelledError

import pytest

from sharekeeper.backup_service.sibling import CHECK_EVERY_SECONDS, TOPIC, Sibling, SiblingSettings
from sharekeeper.config_values import NetAddress
from sharekeeper.domain.keyshare import Purpose
from sharekeeper.errors import ChainUnavailable, PeerRefused, PeerUnreachable, PinChanged, VaultCorrupt
from sharekeeper.protocol.survival import SiblingCopy
from sharekeeper.reconcile import ChainWatch, Faults

from .protocol_values import RUNNING, keyset, stored, tls
from .simulators import ManualClock, SimulatedChain

SIBLING, OTHER = tls(22), tls(23)
CURRENT = stored(keyset())


class Copies:
    """Stands for the exchanges: `peer` is who is registered, `fault` what a check ends with."""

    def __init__(self) -> None:
        self.peer, self.fault, self.asked = SIBLING, None, []
        self.prover = None
        """Who proves the copy, if that is another than `peer`: the registration changed in between."""

    async def expected_peers(self):
        if isinstance(self.fault, ChainUnavailable):
            raise self.fault
        return () if self.peer is None else (self.peer,)

    async def check(self, held):
        self.asked.append(held)
        if self.fault is not None:
            raise self.fault
        return self.prover or self.peer

    async def serve(self, _channel):
        if self.fault is not None:
            raise self.fault
        return Purpose.COPY


class Pins:
    enforced = 0

    async def enforce_pins(self):
        self.enforced += 1


class Rig:
    def __init__(self, *, demanded=True) -> None:
        self.clock, self.copies, self.pins = ManualClock(), Copies(), Pins()
        self.current = CURRENT
        self.faults = Faults(self.clock)
        self.sibling = Sibling(
            SiblingSettings(address=NetAddress(host="127.0.0.1", port=1), demanded=demanded),
            self.copies,
            watch=ChainWatch(SimulatedChain(self.clock, RUNNING), self.clock),
            clock=self.clock,
            faults=self.faults,
            current=lambda: self.current,
        )

    async def turn(self, after_seconds=0.0):
        self.clock.seconds += after_seconds
        await self.sibling.turn(self.pins)

    @property
    def fault(self):
        return next((fault for fault in self.faults.current() if fault.topic == TOPIC), None)


@pytest.fixture
def rig():
    return Rig()


async def test_one_good_answer_confirms_the_copy_for_a_while(rig):
    assert rig.sibling.copy is SiblingCopy.UNCONFIRMED
    for _ in range(5):
        await rig.turn(1)
    assert (rig.sibling.copy, len(rig.copies.asked), rig.fault) == (SiblingCopy.CONFIRMED, 1, None)
    assert rig.sibling.confirmed_at_ns is not None
    assert rig.pins.enforced == 5
    await rig.turn(CHECK_EVERY_SECONDS)
    assert len(rig.copies.asked) == 2


async def test_a_confirmation_that_nobody_renews_ends(rig):
    await rig.turn()
    rig.clock.seconds += 2 * CHECK_EVERY_SECONDS
    assert (rig.sibling.copy, rig.sibling.confirmed_at_ns) == (SiblingCopy.UNCONFIRMED, None)


@pytest.mark.parametrize("demanded", [True, False])
async def test_a_bad_answer_ends_it_at_once_and_alarms_where_the_copy_is_indispensable(demanded):
    rig = Rig(demanded=demanded)
    await rig.turn()
    rig.copies.fault = PeerUnreachable("nobody there")
    await rig.turn(CHECK_EVERY_SECONDS)
    assert rig.sibling.copy is SiblingCopy.UNCONFIRMED
    assert (rig.fault.code, rig.fault.alarm) == ("peer_unreachable", demanded)
    assert rig.sibling.exchanges_total == {("check", "confirmed"): 1, ("check", "peer_unreachable"): 1}
    rig.copies.fault = None
    await rig.turn(60)
    assert (rig.sibling.copy, rig.fault) == (SiblingCopy.CONFIRMED, None)


async def test_a_sibling_that_does_not_answer_is_not_pressed(rig):
    rig.copies.fault = PeerRefused("not yet")
    for _ in range(100):
        await rig.turn(0.1)
    assert 2 <= len(rig.copies.asked) <= 10


@pytest.mark.parametrize("change", ["keyset", "sibling"])
async def test_another_keyset_or_sibling_is_asked_about_at_once(rig, change):
    await rig.turn()
    if change == "keyset":
        rig.current = stored(keyset(6))
    else:
        rig.copies.peer = OTHER
    if change == "keyset":
        assert rig.sibling.copy is SiblingCopy.UNCONFIRMED
    rig.copies.fault = PeerRefused("it does not hold that")
    await rig.turn()
    assert (rig.sibling.copy, len(rig.copies.asked)) == (SiblingCopy.UNCONFIRMED, 2)


async def test_a_sibling_that_is_not_registered_is_named_with_the_cure(rig):
    await rig.turn()
    rig.copies.peer = None
    await rig.turn(1)
    assert (rig.sibling.tls_key, rig.sibling.copy) == (None, SiblingCopy.UNCONFIRMED)
    assert "start it, in the other slot" in rig.fault.message
    assert rig.fault.alarm


async def test_who_holds_nothing_has_nothing_to_ask_about(rig):
    rig.current = None
    await rig.turn()
    assert (rig.copies.asked, rig.fault, rig.sibling.copy) == ([], None, SiblingCopy.UNCONFIRMED)


async def test_who_holds_nothing_any_more_is_told_of_no_fault(rig):
    rig.copies.fault = PeerUnreachable("nobody there")
    await rig.turn()
    assert rig.fault is not None
    rig.current = None
    await rig.turn(1)
    assert rig.fault is None


async def test_a_copy_that_another_machine_proved_is_not_confirmed(rig):
    rig.copies.prover = OTHER
    await rig.turn()
    assert (rig.sibling.tls_key, rig.sibling.copy) == (SIBLING, SiblingCopy.UNCONFIRMED)
    rig.copies.peer = OTHER
    await rig.turn(1)
    assert (rig.sibling.copy, len(rig.copies.asked)) == (SiblingCopy.CONFIRMED, 1)


async def test_without_a_view_of_the_chain_nothing_is_asked_and_what_is_known_stays(rig):
    await rig.turn()
    rig.copies.fault = ChainUnavailable("nobody answers")
    await rig.turn(CHECK_EVERY_SECONDS)
    assert (len(rig.copies.asked), rig.sibling.copy) == (1, SiblingCopy.CONFIRMED)


@pytest.mark.parametrize(
    ("fault", "shown"), [(None, False), (PinChanged("gone"), False), (VaultCorrupt("damaged"), True)]
)
async def test_what_is_served_is_counted_and_only_a_fault_of_this_side_is_shown(rig, fault, shown):
    rig.copies.fault = fault
    channel = type("Channel", (), {"peer": SIBLING})()
    if fault is None:
        await rig.sibling.serve(channel)
    else:
        with pytest.raises(type(fault)):
            await rig.sibling.serve(channel)
    assert rig.sibling.exchanges_total == {
        ("copy", "durable") if fault is None else ("unknown", fault.code): 1,
    }
    assert bool(rig.faults.current()) is shown


async def test_a_fault_of_this_side_is_over_when_the_next_exchange_is_complete(rig):
    channel = type("Channel", (), {"peer": SIBLING})()
    rig.copies.fault = VaultCorrupt("damaged")
    with pytest.raises(VaultCorrupt):
        await rig.sibling.serve(channel)
    rig.copies.fault = None
    await rig.sibling.serve(channel)
    assert rig.faults.current() == ()


async def test_what_is_cut_short_is_counted_so_and_confirms_nothing(rig):
    rig.copies.fault = CancelledError()
    with pytest.raises(CancelledError):
        await rig.turn()
    with pytest.raises(CancelledError):
        await rig.sibling.serve(type("Channel", (), {"peer": SIBLING})())
    assert rig.sibling.exchanges_total == {("check", "cancelled"): 1, ("unknown", "cancelled"): 1}
    assert rig.sibling.copy is SiblingCopy.UNCONFIRMED
