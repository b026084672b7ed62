"""A vault and a key-share store with real keys for the tests of storage; a disk that can fail at any call."""

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pyrage

from sharekeeper.adapters.durable_file import DISK, Disk
from sharekeeper.adapters.vault_operator import OperatorVault
from sharekeeper.adapters.vault_writer import SealedTo
from sharekeeper.crypto.keypair import KeyPair
from sharekeeper.domain.identity import TlsKey
from sharekeeper.domain.keyset import Curve, DomainKey, DomainPublicKey, Keyset
from sharekeeper.domain.keyshare import KeyShare
from sharekeeper.secret import Secret
from tests.unit.protocol_values import ALICE, NETWORK

# Made for these tests; every process of a test needs the same ones.
SERVICE_IDENTITY = "AGE-SECRET-KEY-1XC0J38M2L5AJ53EUDPXEE6VQA60KZ4NYJQNXRJR7DCGN9XTSGZJQZT8P6E"
OPERATOR_IDENTITY = "AGE-SECRET-KEY-1KHQ7ZCWAZKXJT26X354ZEZE6S6A4UKM9EE4E8SPY6T2RCMEJD9FQVJ2QHS"
SECOND_OPERATOR_IDENTITY = "AGE-SECRET-KEY-1YXAT5WAQJDFP3QFX3C7MRPDGTTWVS72ATE8H3RK3ZRKXMRU3KATQ492SQ5"
SIGNING_KEY = KeyPair.generate(b"s" * 32)
SOURCE = TlsKey(b"\x07" * 32)
_RAW = {Curve.SECP256K1: 64, Curve.ED25519: 32, Curve.BLS12381: 96}


def recipient(identity: str) -> str:
    return str(pyrage.x25519.Identity.from_str(identity).to_public())


RECIPIENTS = (recipient(SERVICE_IDENTITY), recipient(OPERATOR_IDENTITY))
NEW_RECIPIENTS = (recipient(SERVICE_IDENTITY), recipient(SECOND_OPERATOR_IDENTITY))


def keyset(epoch: int = 5, *, domains: int = 3, attempt: int = 0) -> Keyset:
    """Domains on the three curves in turn."""
    curves = list(Curve)
    keys = []
    for domain in range(domains):
        curve = curves[domain % 3]
        raw = (epoch * 1000 + domain + 1).to_bytes(_RAW[curve], "big")
        keys.append(DomainKey(domain_id=domain, attempt=attempt, public_key=DomainPublicKey(curve, raw)))
    return Keyset(epoch_id=epoch, domains=tuple(keys))


def shares_of(of: Keyset, *, base: int = 7) -> tuple[KeyShare, ...]:
    return tuple(
        KeyShare(
            key_id=of.key_event(domain),
            curve=domain.public_key.curve,
            private_share=Secret(b"\x01" + (base + of.epoch_id + number).to_bytes(30, "big") + b"\x01"),
            public_key=domain.public_key.share_form(),
        )
        for number, domain in enumerate(of.domains)
    )


class SteppingClock:
    """Wall time that moves one second with each reading."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * 10**9

    def wall_ns(self) -> int:
        self.now += 10**9
        return self.now

    def monotonic(self) -> float:
        return self.now / 1e9

    async def sleep(self, seconds: float) -> None:
        self.now += int(seconds * 1e9)


def vault_at(
    root: Path,
    *,
    disk: Disk = DISK,
    recipients: tuple[str, ...] = RECIPIENTS,
    identity: str = SERVICE_IDENTITY,
    signing_key: KeyPair = SIGNING_KEY,
    account_id: str = ALICE,
    sealed_to: SealedTo = SealedTo.SERVICE_AND_OPERATOR,
) -> OperatorVault:
    """The vault in `root/vault` with its records in `root/state`."""
    return OperatorVault(
        root / "vault",
        state_dir=root / "state",
        network=NETWORK,
        account_id=account_id,
        recipients=recipients,
        identity=Secret(identity.encode()),
        signing_key=signing_key,
        clock=SteppingClock(),
        disk=disk,
        sealed_to=sealed_to,
    )


def backup_id(of: Keyset):
    return of.backup_id(NETWORK, ALICE)


def leftovers(root: Path) -> list[Path]:
    return sorted(path for path in root.rglob("*") if path.name.startswith(".tmp-"))


class SteppedDisk(Disk):
    """The real disk, with `before(call, what)` run before each system call; every file is written in two calls.

    fsync is counted and not done: no test cuts the power, and thousands of them take minutes.
    """

    def __init__(self, before: Callable[[str, str], None]) -> None:
        self._before = before
        self._begun: set[int] = set()

    def make_directory(self, path):
        self._before("mkdir", path.name)
        super().make_directory(path)

    def set_mode(self, path, mode):
        self._before("chmod", path.name)
        super().set_mode(path, mode)

    def create(self, path):
        self._before("create", path.name)
        return self._fresh(super().create(path))

    def open_to_append(self, path):
        self._before("append", path.name)
        return self._fresh(super().open_to_append(path))

    def _fresh(self, descriptor):
        self._begun.discard(descriptor)
        return descriptor

    def write(self, descriptor, data):
        self._before("write", "")
        if descriptor in self._begun or len(data) < 2:
            return super().write(descriptor, data)
        self._begun.add(descriptor)
        return super().write(descriptor, data[: len(data) // 2])

    def sync(self, descriptor):
        self._begun.discard(descriptor)
        self._before("fsync", "")

    def rename(self, source, target):
        self._before("rename", target.name)
        super().rename(source, target)

    def unlink(self, path):
        self._before("unlink", path.name)
        super().unlink(path)

    def remove_directory(self, path):
        self._before("rmdir", path.name)
        super().remove_directory(path)


class Counter:
    """Counts the calls; `at` is the number of the call before which `act` runs."""

    def __init__(self, at: int = -1, act: Callable[[], None] = lambda: None) -> None:
        self.calls: list[str] = []
        self._at = at
        self._act = act

    def __call__(self, call: str, what: str) -> None:
        self.calls.append(call)
        if len(self.calls) - 1 == self._at:
            self._act()


def failing(at: int, code: int) -> SteppedDisk:
    """A disk whose call number `at` fails with `code`."""

    def fail() -> None:
        raise OSError(code, os.strerror(code))

    return SteppedDisk(Counter(at, fail))


FULL, BROKEN = errno.ENOSPC, errno.EIO
