"""What the operator consented to, one file each: durable, single-use (design decisions 6 and 8)."""

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from sharekeeper.adapters.durable_file import DISK, Disk, FileLock, clean, ensure_directory, read_file, write_file
from sharekeeper.domain.backup import Approval, QuorumOverride
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import KeysetDigest, Sha256Hex
from sharekeeper.domain.protocol_state import ParticipantInfo
from sharekeeper.errors import PolicyRefused
from sharekeeper.ports import ApprovalStore, OverrideStore
from sharekeeper.protocol.codec import DecodeError, canonical_json, field, integer, parse_json, text

CONSENT_FORMAT: Final = 1
MAX_CONSENT_BYTES: Final = 4096
T = TypeVar("T")


class _ConsentDirectory(Generic[T]):
    """Consents in a directory, one file each, named by what was consented to.

    The command line adds, the daemon spends; both may run at the same time.
    """

    def __init__(self, directory: Path, kind: "_Kind[T]", *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._kind = kind
        self._disk = disk
        self._writing = threading.Lock()

    def read_all(self) -> list[T]:
        """Raises `PolicyRefused` that names what cannot be read or is no such consent."""
        return [self._read(path) for path in self._files()]

    def add(self, consent: T) -> None:
        """It is on record, unspent; one that was on record already is left as it is."""
        with self._changing():
            if not self._path(consent).exists():
                self._write(self._kind.unspent(consent))

    def change(self, consent: T, spent: Callable[[T], T]) -> None:
        """What is on record for `consent` is now `spent` of it. Raises what `spent` raises."""
        with self._changing():
            if not self._path(consent).exists():
                raise PolicyRefused(f"no such {self._kind.what} is on record; {self._kind.cure}")
            self._write(spent(self._read(self._path(consent))))

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """Alone, across processes; the first holder after a crash removes what the crash left."""
        with self._writing:
            ensure_directory(self._directory, what=self._kind.what, disk=self._disk)
            lock = FileLock.take(self._directory / "lock", what=f"the lock of the {self._kind.what}s", wait=True)
            try:
                clean(self._directory, disk=self._disk)
                yield
            finally:
                lock.release()

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self._directory.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PolicyRefused(
                f"the {self._kind.what}s in {self._directory} cannot be read: {error.strerror}; give that directory and"
                " its files to the user this service runs as"
            ) from None

    def _path(self, consent: T) -> Path:
        return self._directory / f"{Sha256Hex.of(self._encoded(self._kind.unspent(consent)))[:32]}.json"

    def _encoded(self, consent: T) -> bytes:
        return canonical_json(self._kind.encode(consent)) + b"\n"

    def _write(self, consent: T) -> None:
        write_file(self._path(consent), self._encoded(consent), what=self._kind.what, disk=self._disk)

    def _read(self, path: Path) -> T:
        what, cure = self._kind.what, self._kind.cure
        try:
            consent = self._decoded(read_file(path, limit=MAX_CONSENT_BYTES))
        except OSError as error:
            raise PolicyRefused(f"{what} {path} cannot be read: {error.strerror}; remove it and {cure}") from None
        except ValueError as error:
            raise PolicyRefused(f"{path} is not an {what}: {error}; remove it and {cure}") from None
        if self._path(consent) != path:
            raise PolicyRefused(f"{path} was changed by hand; remove it and {cure}")
        return consent

    def _decoded(self, data: bytes) -> T:
        """Raises `ValueError`."""
        content = parse_json(data)
        if integer(content, "format") != CONSENT_FORMAT:
            raise DecodeError(f"this release reads format {CONSENT_FORMAT}")
        return self._kind.decode(content)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Kind(Generic[T]):
    """A kind of consent: its name, how to give it again, its form on disk."""

    what: str
    cure: str
    encode: Callable[[T], dict[str, Any]]
    decode: Callable[[Any], T]
    unspent: Callable[[T], T]


class DirectoryApprovalStore(ApprovalStore):
    """Approvals in a directory."""

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._consents = _ConsentDirectory(directory, _APPROVAL, disk=disk)

    def pending(self) -> Sequence[Approval]:
        """As the port says. Raises `PolicyRefused` that names what cannot be read or is no approval."""
        found = self._consents.read_all()
        return sorted(found, key=lambda approval: (approval.approved_at_height, approval.deadline_ns))

    async def add(self, approval: Approval) -> None:
        """As the port says. Adding one that is on record changes nothing: a spent approval stays spent."""
        await asyncio.to_thread(self._consents.add, approval)

    async def spend(self, approval: Approval, recovery_id: int) -> None:
        """As the port says. Spending it again on the same `recovery_id` is accepted; also raises `StoreFailed`."""

        def spent(held: Approval) -> Approval:
            if held.used_for not in {None, recovery_id}:
                raise PolicyRefused(
                    f"the approval of {held.account_id} was spent on recovery {held.used_for}, not {recovery_id}; "
                    "approve again"
                )
            return replace(held, used_for=recovery_id)

        await asyncio.to_thread(self._consents.change, approval, spent)


class DirectoryOverrideStore(OverrideStore):
    """Overrides of the quorum in a directory."""

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._consents = _ConsentDirectory(directory, _OVERRIDE, disk=disk)

    def pending(self) -> Sequence[QuorumOverride]:
        """As the port says. Raises `PolicyRefused` that names what cannot be read or is no override."""
        return sorted(self._consents.read_all(), key=lambda override: override.deadline_ns)

    async def add(self, override: QuorumOverride) -> None:
        """As the port says. Adding one that is on record changes nothing: a used override stays used."""
        await asyncio.to_thread(self._consents.add, override)

    async def spend(self, override: QuorumOverride, now_ns: int) -> None:
        """As the port says: one hand-out, even if the node then did not get the shares. Also raises `StoreFailed`."""

        def spent(held: QuorumOverride) -> QuorumOverride:
            if held.used_at_ns is not None:
                raise PolicyRefused(f"the override for recovery {held.recovery_id} was used already; make another")
            return replace(held, used_at_ns=now_ns)

        await asyncio.to_thread(self._consents.change, override, spent)


def _encode_approval(approval: Approval) -> dict[str, Any]:
    return {
        "format": CONSENT_FORMAT,
        "account_id": approval.account_id,
        "url": approval.info.url,
        "tls_public_key": str(approval.info.tls_public_key),
        "signer_public_key": str(approval.signer_key),
        "keyset_digest": approval.keyset,
        "approved_at_height": approval.approved_at_height,
        "deadline_ns": approval.deadline_ns,
        "used_for": approval.used_for,
    }


def _decode_approval(content: Any) -> Approval:  # noqa: ANN401  # JSON
    return Approval(
        account_id=AccountId(text(content, "account_id")),
        info=ParticipantInfo(url=text(content, "url"), tls_public_key=TlsKey.parse(text(content, "tls_public_key"))),
        signer_key=SignerKey.parse(text(content, "signer_public_key")),
        keyset=KeysetDigest(text(content, "keyset_digest")),
        approved_at_height=integer(content, "approved_at_height"),
        deadline_ns=integer(content, "deadline_ns"),
        used_for=None if field(content, "used_for") is None else integer(content, "used_for"),
    )


def _encode_override(override: QuorumOverride) -> dict[str, Any]:
    return {
        "format": CONSENT_FORMAT,
        "account_id": override.account_id,
        "block_hash": override.block_hash,
        "recovery_id": override.recovery_id,
        "tls_public_key": str(override.tls_key),
        "deadline_ns": override.deadline_ns,
        "used_at_ns": override.used_at_ns,
    }


def _decode_override(content: Any) -> QuorumOverride:  # noqa: ANN401  # JSON
    return QuorumOverride(
        account_id=AccountId(text(content, "account_id")),
        block_hash=text(content, "block_hash"),
        recovery_id=integer(content, "recovery_id"),
        tls_key=TlsKey.parse(text(content, "tls_public_key")),
        deadline_ns=integer(content, "deadline_ns"),
        used_at_ns=None if field(content, "used_at_ns") is None else integer(content, "used_at_ns"),
    )


_APPROVAL: Final = _Kind(
    what="approval",
    cure="approve again",
    encode=_encode_approval,
    decode=_decode_approval,
    unspent=lambda approval: replace(approval, used_for=None),
)
_OVERRIDE: Final = _Kind(
    what="override",
    cure="make another",
    encode=_encode_override,
    decode=_decode_override,
    unspent=lambda override: replace(override, used_at_ns=None),
)
