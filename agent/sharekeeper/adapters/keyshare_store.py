"""The MPC node's key-share directory (reference layout: docs/vault-format.md, section 7).

`permanent/<epoch>-<keyset digest>.json` is in use, `staged/<recovery id>.json` is not. One file holds
the keyset and all its shares, so a rename is the whole of staging, replacing and promoting.
`temporary/<epoch>-<domain>-<attempt>.json` is one share of a key event that the contract has not accepted yet.
"""

import asyncio
import errno
import re
import threading
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from sharekeeper.adapters.durable_file import (
    DISK,
    Disk,
    FileLock,
    clean,
    ensure_directory,
    move,
    read_file,
    remove_tree,
    sync_directory,
    write_file,
)
from sharekeeper.domain.keyset import KeyEventId, Keyset
from sharekeeper.domain.keyshare import KeyShare, SharesMismatch, check_shares
from sharekeeper.errors import SharesRefused, ShareStoreCorrupt
from sharekeeper.ports import KeyShareStore
from sharekeeper.protocol.codec import (
    DecodeError,
    canonical_json,
    decode_keyset,
    decode_shares,
    encode_keyset,
    encode_shares,
    field,
    integer,
    parse_json,
)
from sharekeeper.spec import MAX_KEYSHARE_FILE_BYTES

KEYSHARE_FORMAT: Final = 1
_WHAT: Final = "key-share file"
_STAGED_NAME: Final = re.compile(r"(0|[1-9]\d{0,19})\.json", re.ASCII)
_TEMPORARY_NAME: Final = re.compile(r"(0|[1-9]\d{0,19})-(0|[1-9]\d{0,19})-(0|[1-9]\d{0,19})\.json", re.ASCII)
_PERMANENT_NAME: Final = re.compile(r"(0|[1-9]\d{0,19})-[0-9a-f]{64}\.json", re.ASCII)

T = TypeVar("T")


class DirectoryKeyShareStore(KeyShareStore):
    """Key shares in a directory of the node's own disk, which MPC node and node agent share.

    Writers take turns by a lock file, readers need none: every file is complete from the moment it has its name.
    The files are not encrypted here: the directory stands for the encrypted disk of the node's TEE.
    """

    def __init__(self, directory: Path, *, disk: Disk = DISK) -> None:
        self._directory = directory
        self._permanent = directory / "permanent"
        self._staged = directory / "staged"
        self._temporary = directory / "temporary"
        self._disk = disk
        self._writing = threading.Lock()

    async def read(self, keyset: Keyset) -> tuple[KeyShare, ...] | None:
        """As the port says; a keyset without domains has no shares, and they are always held."""
        if not keyset.domains:
            return ()
        return await asyncio.to_thread(self._read, self._permanent / _name(keyset), keyset)

    async def stage(self, recovery_id: int, keyset: Keyset, shares: tuple[KeyShare, ...]) -> None:
        """As the port says; what was staged before, for any `recovery_id`, is gone. Also raises `SharesRefused`."""
        await asyncio.to_thread(self._locked, lambda: self._stage(recovery_id, keyset, shares))

    async def staged(self) -> int | None:
        return await asyncio.to_thread(lambda: next(iter(self._staged_ids()), None))

    async def promote(self, recovery_id: int, keyset: Keyset) -> None:
        """As the port says; also raises `StoreFailed`, after which repeating it is safe."""
        await asyncio.to_thread(self._locked, lambda: self._promote(recovery_id, keyset))

    async def discard_staged(self) -> bool:
        return await asyncio.to_thread(self._locked, self._discard)

    async def store_permanent(self, keyset: Keyset, shares: tuple[KeyShare, ...]) -> None:
        """The shares are in use, durably: what key generation ends with. A repeat writes the same file again.

        Raises:
            SharesRefused: they are not the shares of `keyset`.
            StoreFailed: disk.
        """
        await asyncio.to_thread(self._locked, lambda: self._write(self._permanent, _name(keyset), keyset, shares))

    async def destroy_others(self, keyset: Keyset) -> Sequence[str]:
        """Of older permanent shares only those of `keyset` are left; returns the names of the deleted files.

        Shares of a newer epoch, or of further domains of this one, stay: whoever wrote them has seen a newer state.

        Raises:
            ShareStoreCorrupt: the shares of `keyset` are not held or not whole; nothing was deleted.
            StoreFailed: disk; some may be deleted, repeating it is safe.
        """
        return await asyncio.to_thread(self._locked, lambda: self._destroy_others(keyset))

    # --- key events: shares that do not count yet -------------------------------------------------

    async def hold(self, share: KeyShare, *, height: int = 0) -> None:
        """The share is durable, and not in use until `make_permanent`. A repeat writes the same file again.

        `height`: the final block at which its key event was seen in progress.

        Raises:
            StoreFailed: disk.
        """
        await asyncio.to_thread(self._locked, lambda: self._hold(share, height))

    async def held(self, key_event: KeyEventId) -> KeyShare | None:
        """The share of that key event which `hold` wrote, or None. Raises `ShareStoreCorrupt`."""
        return await asyncio.to_thread(self._held, key_event)

    async def make_permanent(self, keyset: Keyset) -> bool:
        """The shares of `keyset` are in use, if they are here: held, or in use for another keyset of its epoch.

        False when one is missing, and then nothing changed. What was held is still held: see `erase_held`.

        Raises:
            ShareStoreCorrupt: a file that may have one of them is not whole.
            SharesRefused: what is held is not of this keyset's public keys.
            StoreFailed: disk; repeating it is safe.
        """
        if not self._directory.exists():
            return False
        return await asyncio.to_thread(self._locked, lambda: self._make_permanent(keyset))

    async def erase_held(self, *, keep: Collection[KeyEventId] = (), height: int) -> Sequence[str]:
        """No share is held but those of the key events `keep`; returns the names of the deleted files.

        `height`: the final block that this was decided at. Shares held since a later block stay: a machine that
        looks at an old block, as after a restart, knows nothing about them.

        Raises:
            StoreFailed: disk; repeating it is safe.
        """
        kept = {_event_name(event) for event in keep}
        if set(_names(self._temporary)) <= kept:
            return ()
        return await asyncio.to_thread(self._locked, lambda: self._erase_held(kept, height))

    async def destroy_older(self, epoch_id: int) -> Sequence[str]:
        """No permanent shares of an epoch before `epoch_id` are left: for a node that has left the network.

        Raises:
            StoreFailed: disk; repeating it is safe.
        """
        if not self._permanent.exists():
            return ()
        return await asyncio.to_thread(self._locked, lambda: self._destroy(lambda name: _epoch_of(name) < epoch_id))

    # --- what runs in a thread ------------------------------------------------------------------

    def _locked(self, work: Callable[[], T]) -> T:
        with self._writing:
            ensure_directory(self._directory, what=_WHAT, disk=self._disk)
            lock = FileLock.take(self._directory / "lock", what="lock of the key shares", wait=True)
            try:
                return work()
            finally:
                lock.release()

    def _read(self, path: Path, keyset: Keyset) -> tuple[KeyShare, ...] | None:
        data = _content(path)
        return None if data is None else _decode(data, path, keyset)

    def _hold(self, share: KeyShare, height: int) -> None:
        ensure_directory(self._temporary, what=_WHAT, disk=self._disk)
        clean(self._temporary, disk=self._disk)
        content = {"format": KEYSHARE_FORMAT, "height": height, "shares": encode_shares((share,))}
        data = canonical_json(content) + b"\n"
        write_file(self._temporary / _event_name(share.key_id), data, what=_WHAT, disk=self._disk)

    def _held(self, key_event: KeyEventId) -> KeyShare | None:
        path = self._temporary / _event_name(key_event)
        data = _content(path)
        return None if data is None else _decode_held(data, path, key_event)

    def _make_permanent(self, keyset: Keyset) -> bool:
        of_epoch = [name for name in _permanent_names(self._permanent) if name.startswith(f"{keyset.epoch_id}-")]
        used = [share for name in of_epoch for share in self._whole(self._permanent / name)]
        found = {share.key_id: share for share in used}
        for domain in keyset.domains:
            event = keyset.key_event(domain)
            if event not in found and (share := self._held(event)) is not None:
                found[event] = share
        shares = [found.get(keyset.key_event(domain)) for domain in keyset.domains]
        complete = tuple(share for share in shares if share is not None)
        if len(complete) != len(shares):
            return False
        self._write(self._permanent, _name(keyset), keyset, complete)
        return True

    def _whole(self, path: Path) -> tuple[KeyShare, ...]:
        """The shares of a permanent file, whatever keyset it holds."""
        data = _content(path)
        if data is None:
            return ()
        try:
            keyset = decode_keyset(field(parse_json(data), "keyset"))
        except DecodeError as error:
            raise ShareStoreCorrupt(f"{path} was not used: {error}; remove it and recover the shares again") from None
        return _decode(data, path, keyset)

    def _erase_held(self, kept: Collection[str], height: int) -> Sequence[str]:
        clean(self._temporary, disk=self._disk)
        names = [name for name in _names(self._temporary) if _TEMPORARY_NAME.fullmatch(name) and name not in kept]
        gone = [name for name in names if _held_since(self._temporary / name) <= height]
        for name in gone:
            remove_tree(self._temporary / name, what=_WHAT, disk=self._disk)
        return gone

    def _write(self, directory: Path, name: str, keyset: Keyset, shares: tuple[KeyShare, ...]) -> None:
        try:
            check_shares(keyset, shares)
        except SharesMismatch as error:
            raise SharesRefused(f"these are not the shares of the keyset, nothing was written: {error}") from None
        ensure_directory(directory, what=_WHAT, disk=self._disk)
        clean(directory, disk=self._disk)
        write_file(directory / name, _encode(keyset, shares), what=_WHAT, disk=self._disk)

    def _stage(self, recovery_id: int, keyset: Keyset, shares: tuple[KeyShare, ...]) -> None:
        self._write(self._staged, f"{recovery_id}.json", keyset, shares)
        for other in self._staged_ids():
            if other != recovery_id:
                remove_tree(self._staged / f"{other}.json", what=_WHAT, disk=self._disk)

    def _staged_ids(self) -> list[int]:
        """Newest first."""
        names = _names(self._staged)
        return sorted((int(match[1]) for name in names if (match := _STAGED_NAME.fullmatch(name))), reverse=True)

    def _promote(self, recovery_id: int, keyset: Keyset) -> None:
        source, target = self._staged / f"{recovery_id}.json", self._permanent / _name(keyset)
        ensure_directory(self._permanent, what=_WHAT, disk=self._disk)
        if self._read(source, keyset) is not None:
            move(source, target, what=_WHAT, disk=self._disk)
        elif self._read(target, keyset) is not None:
            sync_directory(self._permanent, what=_WHAT, disk=self._disk)
        else:
            raise ShareStoreCorrupt(
                f"no shares are staged for recovery {recovery_id} in {self._staged}; let the backup service send them again"
            )

    def _discard(self) -> bool:
        if not self._staged.exists():
            return False
        clean(self._staged, disk=self._disk)
        names = _names(self._staged)
        for name in names:
            remove_tree(self._staged / name, what=_WHAT, disk=self._disk)
        return bool(names)

    def _destroy_others(self, keyset: Keyset) -> Sequence[str]:
        if self._read(self._permanent / _name(keyset), keyset) is None:
            raise ShareStoreCorrupt(
                f"the shares of keyset {keyset.digest()} are not in {self._permanent}; nothing was deleted: recover them first"
            )
        return self._destroy(lambda name: name != _name(keyset) and self._is_older(name, keyset))

    def _is_older(self, name: str, keyset: Keyset) -> bool:
        if _epoch_of(name) != keyset.epoch_id:
            return _epoch_of(name) < keyset.epoch_id
        events = {keyset.key_event(domain) for domain in keyset.domains}
        return {share.key_id for share in self._whole(self._permanent / name)} <= events

    def _destroy(self, superseded: Callable[[str], bool]) -> Sequence[str]:
        clean(self._permanent, disk=self._disk)
        gone = [name for name in _permanent_names(self._permanent) if superseded(name)]
        for name in gone:
            remove_tree(self._permanent / name, what=_WHAT, disk=self._disk)
        return gone


def _name(keyset: Keyset) -> str:
    return f"{keyset.epoch_id}-{keyset.digest()}.json"


def _event_name(event: KeyEventId) -> str:
    return f"{event.epoch_id}-{event.domain_id}-{event.attempt_id}.json"


def _epoch_of(name: str) -> int:
    return int(name.partition("-")[0])


def _held_since(path: Path) -> int:
    """The height in a held share's file; 0 when it has none, since what is damaged serves nobody."""
    try:
        return integer(parse_json(_content(path) or b""), "height")
    except (DecodeError, ShareStoreCorrupt):
        return 0


def _permanent_names(directory: Path) -> list[str]:
    return [name for name in _names(directory) if _PERMANENT_NAME.fullmatch(name)]


def _content(path: Path) -> bytes | None:
    try:
        return read_file(path, limit=MAX_KEYSHARE_FILE_BYTES, private=True)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ShareStoreCorrupt(f"{path} was not used: {error.strerror}; {_cure(error)}") from None


def _names(directory: Path) -> list[str]:
    try:
        return sorted(path.name for path in directory.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ShareStoreCorrupt(
            f"{directory} cannot be listed: {error.strerror}; make it a directory of the user this agent runs as"
        ) from None


def _encode(keyset: Keyset, shares: tuple[KeyShare, ...]) -> bytes:
    content: dict[str, Any] = {
        "format": KEYSHARE_FORMAT,
        "keyset": encode_keyset(keyset),
        "shares": encode_shares(shares),
    }
    return canonical_json(content) + b"\n"


def _decode(data: bytes, path: Path, keyset: Keyset) -> tuple[KeyShare, ...]:
    try:
        content = parse_json(data)
        found, shares = decode_keyset(field(content, "keyset")), decode_shares(field(content, "shares"))
        check_shares(keyset, shares)
        same = integer(content, "format") == KEYSHARE_FORMAT and found == keyset
    except (DecodeError, SharesMismatch) as error:
        raise ShareStoreCorrupt(f"{path} was not used: {error}; remove it and recover the shares again") from None
    if not same:
        raise ShareStoreCorrupt(f"{path} was not used: another keyset or format; remove it and recover again")
    return shares


def _decode_held(data: bytes, path: Path, key_event: KeyEventId) -> KeyShare:
    try:
        content = parse_json(data)
        shares = decode_shares(field(content, "shares"))
        same = integer(content, "format") == KEYSHARE_FORMAT and [share.key_id for share in shares] == [key_event]
    except DecodeError as error:
        raise ShareStoreCorrupt(f"{path} was not used: {error}; remove it, the next attempt makes another") from None
    if not same:
        raise ShareStoreCorrupt(f"{path} was not used: another key event or format; remove it")
    return shares[0]


def _cure(error: OSError) -> str:
    if error.errno == errno.EPERM:
        return "find out who could read it, then chmod 0600"
    return "repair or remove it and recover the shares again"
