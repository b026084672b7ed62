"""What a machine remembers across restarts, in one small file of its state directory."""

import asyncio
from pathlib import Path
from typing import Any, Final

from sharekeeper.adapters.durable_file import DISK, Disk, ensure_directory, read_file, write_file
from sharekeeper.domain.identity import TlsKey
from sharekeeper.errors import HostFault
from sharekeeper.protocol.codec import DecodeError, boolean, canonical_json, field, integer, parse_json, text
from sharekeeper.protocol.onboarding import KeyHistory
from sharekeeper.reconcile import Memory

MEMORY_FORMAT: Final = 1
FILE_NAME: Final = "memory.json"
_MAX_BYTES: Final = 4096
_WHAT: Final = "memory file"


class FileMemory(Memory):
    """The memory of one TLS key; a machine that got new keys starts with an empty one."""

    def __init__(self, directory: Path, tls_key: TlsKey, *, disk: Disk = DISK) -> None:
        """Reads what is there. Raises `HostFault` if the file is damaged: forgetting would be dangerous."""
        self._path = directory / FILE_NAME
        self._tls_key = tls_key
        self._disk = disk
        self._history, self._floor_height = self._read()

    @property
    def history(self) -> KeyHistory:
        return self._history

    @property
    def floor_height(self) -> int:
        return self._floor_height

    async def remember(self, history: KeyHistory, height: int) -> None:
        """As the port says; nothing is written when nothing new is learnt."""
        merged = KeyHistory(
            recorded=self._history.recorded or history.recorded, named=self._history.named or history.named
        )
        floor = max(self._floor_height, height)
        if (merged, floor) == (self._history, self._floor_height):
            return
        await asyncio.to_thread(self._write, merged, floor)
        self._history, self._floor_height = merged, floor

    def _read(self) -> tuple[KeyHistory, int]:
        try:
            content = parse_json(read_file(self._path, limit=_MAX_BYTES))
            known = TlsKey.parse(text(content, "tls_public_key"))
            history = KeyHistory(recorded=boolean(content, "recorded"), named=boolean(content, "named"))
            floor = integer(content, "floor_height")
            if field(content, "format") != MEMORY_FORMAT:
                raise DecodeError(f"this release reads format {MEMORY_FORMAT}")
        except FileNotFoundError:
            return KeyHistory(), 0
        except (OSError, ValueError) as error:
            raise HostFault(
                f"{self._path} is damaged ({error}): restore it; if this machine's keys never served the network, "
                "remove it"
            ) from None
        return (history, floor) if known == self._tls_key else (KeyHistory(), 0)

    def _write(self, history: KeyHistory, floor: int) -> None:
        content: dict[str, Any] = {
            "format": MEMORY_FORMAT,
            "tls_public_key": str(self._tls_key),
            "recorded": history.recorded,
            "named": history.named,
            "floor_height": floor,
        }
        ensure_directory(self._path.parent, what=_WHAT, disk=self._disk)
        write_file(self._path, canonical_json(content) + b"\n", what=_WHAT, disk=self._disk)
