"""The operator's approvals of hand-outs, one file each: durable, single-use (design decision 8)."""

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from sharekeeper.adapters.durable_file import DISK, Disk, FileLock, clean, ensure_directory, read_file, write_file
from sharekeeper.domain.backup import Approval
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import KeysetDigest, Sha256Hex
from sharekeeper.domain.protocol_state import ParticipantInfo
from sharekeeper.errors import PolicyRefused
from sharekeeper.ports import ApprovalStore
from sharekeeper.protocol.codec import DecodeError, canonical_json, field, integer, parse_json, text

APPROVAL_FORMAT: Final = 1
MAX_APPROVAL_BYTES: Final = 4096
_WHAT: Final = "approval"


class DirectoryApprovalStore(ApprovalStore):
    """Approvals in a directory. The command line adds, the daemon spends; both may run at the same time."""

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._disk = disk
        self._writing = threading.Lock()

    def pending(self) -> Sequence[Approval]:
        """As the port says. Raises `PolicyRefused` that names what cannot be read or is no approval."""
        found = [self._read(path) for path in self._files()]
        return sorted(found, key=lambda approval: (approval.approved_at_height, approval.deadline_ns))

    async def add(self, approval: Approval) -> None:
        """As the port says. Adding one that is on record changes nothing: a spent approval stays spent."""
        await asyncio.to_thread(self._add, approval)

    async def spend(self, approval: Approval, recovery_id: int) -> None:
        """As the port says. Spending it again on the same `recovery_id` is accepted; also raises `StoreFailed`."""
        await asyncio.to_thread(self._spend, approval, recovery_id)

    def _add(self, approval: Approval) -> None:
        with self._writing:
            lock = self._lock()
            try:
                if not self._path(approval).exists():
                    self._write(replace(approval, used_for=None))
            finally:
                lock.release()

    def _spend(self, approval: Approval, recovery_id: int) -> None:
        with self._writing:
            lock = self._lock()
            try:
                self._spend_locked(approval, recovery_id)
            finally:
                lock.release()

    def _spend_locked(self, approval: Approval, recovery_id: int) -> None:
        if not self._path(approval).exists():
            raise PolicyRefused(f"no such approval of {approval.account_id} is on record; approve the recovery first")
        held = self._read(self._path(approval))
        if held.used_for not in {None, recovery_id}:
            raise PolicyRefused(
                f"the approval of {approval.account_id} was spent on recovery {held.used_for}, not {recovery_id}; approve again"
            )
        self._write(replace(held, used_for=recovery_id))

    def _lock(self) -> FileLock:
        """Held for one change; the first holder after a crash removes what the crash left."""
        ensure_directory(self._directory, what=_WHAT, disk=self._disk)
        lock = FileLock.take(self._directory / "lock", what="the lock of the approvals", wait=True)
        try:
            clean(self._directory, disk=self._disk)
        except BaseException:
            lock.release()
            raise
        return lock

    def _files(self) -> list[Path]:
        try:
            return sorted(path for path in self._directory.iterdir() if path.suffix == ".json")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise PolicyRefused(
                f"the approvals in {self._directory} cannot be read: {error.strerror}; give that directory and its"
                " files to the user this service runs as"
            ) from None

    def _path(self, approval: Approval) -> Path:
        return self._directory / f"{Sha256Hex.of(_encode(replace(approval, used_for=None)))[:32]}.json"

    def _write(self, approval: Approval) -> None:
        write_file(self._path(approval), _encode(approval), what=_WHAT, disk=self._disk)

    def _read(self, path: Path) -> Approval:
        try:
            approval = _decode(read_file(path, limit=MAX_APPROVAL_BYTES))
        except OSError as error:
            raise PolicyRefused(
                f"approval {path} cannot be read: {error.strerror}; remove it and approve again"
            ) from None
        except ValueError as error:
            raise PolicyRefused(f"{path} is not an approval: {error}; remove it and approve again") from None
        if self._path(approval) != path:
            raise PolicyRefused(f"{path} was changed by hand; remove it and approve again")
        return approval


def _encode(approval: Approval) -> bytes:
    content: dict[str, Any] = {
        "format": APPROVAL_FORMAT,
        "account_id": approval.account_id,
        "url": approval.info.url,
        "tls_public_key": str(approval.info.tls_public_key),
        "signer_public_key": str(approval.signer_key),
        "keyset_digest": approval.keyset,
        "approved_at_height": approval.approved_at_height,
        "deadline_ns": approval.deadline_ns,
        "used_for": approval.used_for,
    }
    return canonical_json(content) + b"\n"


def _decode(data: bytes) -> Approval:
    """Raises `ValueError`."""
    content = parse_json(data)
    if integer(content, "format") != APPROVAL_FORMAT:
        raise DecodeError(f"this release reads format {APPROVAL_FORMAT}")
    return Approval(
        account_id=AccountId(text(content, "account_id")),
        info=ParticipantInfo(url=text(content, "url"), tls_public_key=TlsKey.parse(text(content, "tls_public_key"))),
        signer_key=SignerKey.parse(text(content, "signer_public_key")),
        keyset=KeysetDigest(text(content, "keyset_digest")),
        approved_at_height=integer(content, "approved_at_height"),
        deadline_ns=integer(content, "deadline_ns"),
        used_for=None if field(content, "used_for") is None else integer(content, "used_for"),
    )
