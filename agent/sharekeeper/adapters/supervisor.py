"""Starts and stops the MPC node through the configured commands (a systemd unit or a local process).

A command succeeds with exit status 0; afterwards the node runs (start) or does not (stop). It prints one
JSON object whose field `changed` says whether it had to do anything; a command that prints none, as
`systemctl` does, counts as having changed nothing.
"""

import asyncio
import contextlib
import os
import signal
from pathlib import Path
from typing import Final

from sharekeeper.config import SupervisorConfig
from sharekeeper.errors import SupervisorFailed
from sharekeeper.ports import NodeSupervisor
from sharekeeper.protocol.codec import DecodeError, boolean, parse_json

COMMAND_TIMEOUT_SECONDS: Final = 60.0
"""A command that has not ended by then is killed, with all it started in its process group."""

_MAX_OUTPUT_BYTES: Final = 64 * 1024
_SHOWN_CHARACTERS: Final = 300
_DRAIN_SECONDS: Final = 0.2


class CommandSupervisor(NodeSupervisor):
    """The MPC node behind two commands. One command at a time."""

    def __init__(self, config: SupervisorConfig, *, timeout_seconds: float = COMMAND_TIMEOUT_SECONDS) -> None:
        self._config = config
        self._timeout_seconds = timeout_seconds
        self._lock = asyncio.Lock()

    async def ensure_running(self) -> bool:
        return await self._run("start", self._config.start)

    async def ensure_stopped(self) -> bool:
        return await self._run("stop", self._config.stop)

    async def _run(self, verb: str, command: tuple[str, ...]) -> bool:
        async with self._lock:
            process = await self._spawn(verb, command, self._config.directory)
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    output, errors = await _collect(process)
            except TimeoutError:
                raise SupervisorFailed(
                    f"the {verb} command of the MPC node did not end within {self._timeout_seconds:g} s: {command[0]}"
                ) from None
            finally:
                await _kill(process)
        if process.returncode != 0:
            raise SupervisorFailed(
                f"the {verb} command of the MPC node ended with status {process.returncode}: "
                f"{_tail(errors) or _tail(output) or 'no output'}"
            )
        return _changed(output)

    async def _spawn(self, verb: str, command: tuple[str, ...], directory: Path) -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=_MAX_OUTPUT_BYTES,
                start_new_session=True,
            )
        except OSError as error:
            raise SupervisorFailed(
                f"the {verb} command of the MPC node cannot be run: {command[0]}: {error.strerror}; "
                f"correct node_agent.supervisor.{verb}"
            ) from None


async def _collect(process: asyncio.subprocess.Process) -> tuple[bytes, bytes]:
    """The first part of both outputs, once the command itself has ended.

    What it started may outlive it and keep the pipes open, so the end of the process counts, not theirs.
    """
    output, errors = bytearray(), bytearray()
    streams = ((process.stdout, output), (process.stderr, errors))
    readers = [asyncio.ensure_future(_read(stream, kept)) for stream, kept in streams if stream is not None]
    try:
        await process.wait()
        await asyncio.wait(readers, timeout=_DRAIN_SECONDS)
    finally:
        for reader in readers:
            reader.cancel()
    return bytes(output), bytes(errors)


async def _read(stream: asyncio.StreamReader, kept: bytearray) -> None:
    """Reads to the end, and keeps the first part."""
    while chunk := await stream.read(4096):
        kept += chunk[: _MAX_OUTPUT_BYTES - len(kept)]


async def _kill(process: asyncio.subprocess.Process) -> None:
    """A command that still runs is killed with its process group, and reaped."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


def _changed(output: bytes) -> bool:
    lines = output.strip().splitlines()
    if not lines:
        return False
    try:
        return boolean(parse_json(lines[-1]), "changed")
    except DecodeError:
        return False


def _tail(output: bytes) -> str:
    return " ".join(output.decode(errors="replace").split())[-_SHOWN_CHARACTERS:]
