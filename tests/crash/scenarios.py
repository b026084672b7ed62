"""What may be interrupted: each scenario prepares a directory, does one thing in it, and says what must hold after.

`act` runs on a disk that dies or fails at some call. `check` opens the same directory anew, as the next start
does: nothing that was held before is lost, doing it again succeeds, and no leftover stays.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from sharekeeper.adapters.approvals import DirectoryApprovalStore
from sharekeeper.adapters.durable_file import Disk
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.backup import Approval
from sharekeeper.domain.identity import SignerKey
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import ParticipantInfo
from sharekeeper.errors import PolicyRefused
from tests.unit.protocol_values import ALICE
from tests.unit.vault_values import (
    NEW_RECIPIENTS,
    SOURCE,
    Counter,
    SteppedDisk,
    backup_id,
    keyset,
    leftovers,
    shares_of,
    vault_at,
)

K5, K6 = keyset(5), keyset(6)
CALM = SteppedDisk(lambda call, what: None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    prepare: Callable[[Path], None]
    act: Callable[[Path, Disk], None]
    check: Callable[[Path], None]


def calls_of(scenario: Scenario, root: Path) -> list[str]:
    """The system calls of an undisturbed run, in order."""
    counter = Counter()
    scenario.prepare(root)
    scenario.act(root, SteppedDisk(counter))
    return counter.calls


# --- the vault ----------------------------------------------------------------------------------


def _hold(*held: Keyset) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        vault = vault_at(root, disk=CALM)
        vault.acquire()
        for of in held:
            vault.store_now(of, shares_of(of), SOURCE)
        vault.close()

    return prepare


def _damaged(of: Keyset) -> Callable[[Path], None]:
    def prepare(root: Path) -> None:
        _hold(K5, K6)(root)
        (root / "vault" / "keysets" / f"{of.epoch_id}-{of.digest()}" / "shares.age").write_bytes(b"damaged")

    return prepare


def _store(of: Keyset) -> Callable[[Path, Disk], None]:
    def act(root: Path, disk: Disk) -> None:
        vault = vault_at(root, disk=disk)
        try:
            vault.store_now(of, shares_of(of), SOURCE)
        finally:
            vault.close()

    return act


def _rekey(root: Path, disk: Disk) -> None:
    vault = vault_at(root, disk=disk, recipients=NEW_RECIPIENTS)
    try:
        vault.rekey(NEW_RECIPIENTS)
    finally:
        vault.close()


def _destroy(root: Path, disk: Disk) -> None:
    vault = vault_at(root, disk=disk)
    try:
        vault.destroy_older_now(backup_id(K6))
    finally:
        vault.close()


def _verify(root: Path, disk: Disk) -> None:
    vault = vault_at(root, disk=disk)
    try:
        vault.acquire()
        vault.verify(deep=True)
    finally:
        vault.close()


def _adopt(root: Path, disk: Disk) -> None:
    vault = vault_at(root, disk=disk)
    try:
        vault.adopt()
    finally:
        vault.close()


def _dirty(root: Path) -> None:
    _hold(K5)(root)
    for place in ("vault/keysets", "vault/quarantine", "state/vault"):
        (root / place / ".tmp-left").mkdir()
        (root / place / ".tmp-left" / "shares.age").write_bytes(b"half")


def _clean(root: Path) -> None:
    _verify(root, CALM)
    assert vault_at(root).open_now(backup_id(K5)) == shares_of(K5)
    assert leftovers(root) == []


def _lost_head(root: Path) -> None:
    _hold(K5, K6)(root)
    (root / "state" / "vault" / "head.json").unlink()


def _opens(root: Path, before: tuple[Keyset, ...], act: Callable[[Path, Disk], None], after: set[Keyset]) -> None:
    """A reader beside it sees all of `before` or all of `after`; the next start finishes or repeats it."""
    reader = vault_at(root)
    held = {stored.keyset for stored in reader.index()}
    assert set(before) <= held or after <= held
    for of in held:
        assert reader.open_now(backup_id(of)) == shares_of(of)
    starting = vault_at(root, disk=CALM)
    starting.acquire()
    started = {stored.keyset for stored in starting.index()}
    assert set(before) <= started or after <= started
    assert starting.verify(deep=True).ok
    starting.close()
    act(root, CALM)
    final = vault_at(root, disk=CALM)
    final.acquire()
    assert {stored.keyset for stored in final.index()} == after
    for of in after:
        assert final.open_now(backup_id(of)) == shares_of(of)
    assert final.verify(deep=True).ok
    final.close()
    assert leftovers(root) == []


def _vault(
    act: Callable[[Path, Disk], None], *, before: tuple[Keyset, ...], after: set[Keyset], prepare=None
) -> Scenario:
    return Scenario(prepare=prepare or _hold(*before), act=act, check=lambda root: _opens(root, before, act, after))


def _healed(root: Path) -> None:
    """K6 opens whatever became of the damaged K5, and a fresh copy of K5 takes its place."""
    assert vault_at(root).open_now(backup_id(K6)) == shares_of(K6)
    _verify(root, CALM)
    _store(K6)(root, CALM)
    vault = vault_at(root)
    assert vault.open_now(backup_id(K6)) == shares_of(K6)
    assert vault.verify(deep=True).ok
    kept = [*(root / "vault").rglob("shares.age"), *(root / "vault" / "quarantine").rglob("shares.age")]
    assert any(path.read_bytes() == b"damaged" for path in kept)
    assert leftovers(root) == []


def _repaired(root: Path) -> None:
    _store(K6)(root, CALM)
    for of in (K5, K6):
        assert vault_at(root).open_now(backup_id(of)) == shares_of(of)
    _verify(root, CALM)
    assert vault_at(root).verify(deep=True).ok
    assert leftovers(root) == []


def _adopted(root: Path) -> None:
    _adopt(root, CALM)
    assert {stored.keyset for stored in vault_at(root).index()} == {K5, K6}
    _verify(root, CALM)
    assert vault_at(root).verify(deep=True).ok
    assert leftovers(root) == []


# --- the node's key shares ------------------------------------------------------------------------


def _shares(root: Path, disk: Disk = CALM) -> DirectoryKeyShareStore:
    return DirectoryKeyShareStore(root, disk=disk)


def _staged(root: Path) -> None:
    root.mkdir()
    asyncio.run(_shares(root).stage(7, K5, shares_of(K5)))


def _stage(recovery_id: int) -> Callable[[Path, Disk], None]:
    return lambda root, disk: asyncio.run(_shares(root, disk).stage(recovery_id, K5, shares_of(K5)))


def _promote(root: Path, disk: Disk) -> None:
    asyncio.run(_shares(root, disk).promote(7, K5))


def _discard(root: Path, disk: Disk) -> None:
    asyncio.run(_shares(root, disk).discard_staged())


def _imported(recovery_id: int) -> Callable[[Path], None]:
    """Staged shares are whole or absent and never in use; the import can be finished."""

    async def check(root: Path) -> None:
        store = _shares(root)
        staged = await store.staged()
        assert staged in {None, 7, recovery_id}
        assert await store.read(K5) is None
        await store.stage(recovery_id, K5, shares_of(K5))
        await store.promote(recovery_id, K5)
        assert await store.read(K5) == shares_of(K5)
        await store.discard_staged()
        assert leftovers(root) == []

    return lambda root: asyncio.run(check(root))


def _promoted(root: Path) -> None:
    """The shares are staged or in use, never neither."""

    async def check() -> None:
        store = _shares(root)
        assert await store.staged() == 7 or await store.read(K5) == shares_of(K5)
        await store.promote(7, K5)
        assert await store.read(K5) == shares_of(K5)
        assert await store.staged() is None

    asyncio.run(check())
    assert leftovers(root) == []


def _discarded(root: Path) -> None:
    asyncio.run(_shares(root).discard_staged())
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["lock"]


def _two_permanent(root: Path) -> None:
    root.mkdir()
    for of in (K5, K6):
        asyncio.run(_shares(root).store_permanent(of, shares_of(of)))


def _destroy_others(root: Path, disk: Disk) -> None:
    asyncio.run(_shares(root, disk).destroy_others(K6))


def _only_newest(root: Path) -> None:
    assert asyncio.run(_shares(root).read(K6)) == shares_of(K6)
    _destroy_others(root, CALM)
    assert [path.name for path in root.rglob("*.json")] == [f"6-{K6.digest()}.json"]
    assert leftovers(root) == []


def _hold_share(root: Path, disk: Disk) -> None:
    asyncio.run(_shares(root, disk).hold(shares_of(K5)[0], height=9))


def _make_permanent(root: Path, disk: Disk) -> None:
    asyncio.run(_shares(root, disk).make_permanent(K5))


def _erase_held(root: Path, disk: Disk) -> None:
    asyncio.run(_shares(root, disk).erase_held(height=9))


def _all_held(root: Path) -> None:
    for share in shares_of(K5):
        asyncio.run(_shares(root).hold(share, height=9))


def _held_or_not(root: Path) -> None:
    """A held share is whole or absent and never in use."""
    share = shares_of(K5)[0]
    assert asyncio.run(_shares(root).held(share.key_id)) in (None, share)
    assert asyncio.run(_shares(root).read(K5)) is None
    _hold_share(root, CALM)
    assert asyncio.run(_shares(root).held(share.key_id)) == share
    assert leftovers(root) == []


def _in_use_once_all_were_held(root: Path) -> None:
    assert asyncio.run(_shares(root).read(K5)) in (None, shares_of(K5))
    _make_permanent(root, CALM)
    assert asyncio.run(_shares(root).read(K5)) == shares_of(K5)
    assert leftovers(root) == []


def _nothing_held(root: Path) -> None:
    _erase_held(root, CALM)
    assert [path.name for path in root.rglob("*") if path.is_file()] == ["lock"]


# --- approvals ------------------------------------------------------------------------------------

APPROVAL = Approval(
    account_id=ALICE,
    info=ParticipantInfo(url="http://127.90.0.1:8079", tls_public_key=SOURCE),
    signer_key=SignerKey(b"\x05" * 32),
    keyset=K5.digest(),
    approved_at_height=1,
    deadline_ns=2,
    used_for=None,
)


def _approved(root: Path) -> None:
    asyncio.run(DirectoryApprovalStore(root, disk=CALM).add(APPROVAL))
    (root / ".tmp-left").write_bytes(b"half")


def _spend(root: Path, disk: Disk) -> None:
    asyncio.run(DirectoryApprovalStore(root, disk=disk).spend(APPROVAL, 7))


def _spent_once(root: Path) -> None:
    """Spent on recovery 7 or not at all; never on two."""
    store = DirectoryApprovalStore(root, disk=CALM)
    assert [approval.used_for for approval in store.pending()] in ([None], [7])
    _spend(root, CALM)
    try:
        asyncio.run(store.spend(APPROVAL, 8))
    except PolicyRefused:
        assert store.pending() == [replace(APPROVAL, used_for=7)]
    else:
        raise AssertionError("spent twice")
    assert leftovers(root) == []


SCENARIOS = {
    "vault-first-store": _vault(_store(K5), before=(), after={K5}, prepare=lambda root: None),
    "vault-store": _vault(_store(K6), before=(K5,), after={K5, K6}),
    "vault-store-repeated": _vault(_store(K5), before=(K5,), after={K5}),
    "vault-rekey": _vault(_rekey, before=(K5, K6), after={K5, K6}),
    "vault-destroy-older": _vault(_destroy, before=(K5, K6), after={K6}),
    "vault-quarantine": Scenario(prepare=_damaged(K5), act=_verify, check=_healed),
    "vault-repair": Scenario(prepare=_damaged(K6), act=_store(K6), check=_repaired),
    "vault-adopt": Scenario(prepare=_lost_head, act=_adopt, check=_adopted),
    "vault-start-after-a-crash": Scenario(prepare=_dirty, act=_verify, check=_clean),
    "shares-stage": Scenario(prepare=lambda root: None, act=_stage(7), check=_imported(7)),
    "shares-stage-again": Scenario(prepare=_staged, act=_stage(7), check=_imported(7)),
    "shares-stage-another": Scenario(prepare=_staged, act=_stage(8), check=_imported(8)),
    "shares-promote": Scenario(prepare=_staged, act=_promote, check=_promoted),
    "shares-discard": Scenario(prepare=_staged, act=_discard, check=_discarded),
    "shares-destroy-others": Scenario(prepare=_two_permanent, act=_destroy_others, check=_only_newest),
    "shares-hold": Scenario(prepare=lambda root: None, act=_hold_share, check=_held_or_not),
    "shares-make-permanent": Scenario(prepare=_all_held, act=_make_permanent, check=_in_use_once_all_were_held),
    "shares-erase-held": Scenario(prepare=_all_held, act=_erase_held, check=_nothing_held),
    "approval-spend": Scenario(prepare=_approved, act=_spend, check=_spent_once),
}
