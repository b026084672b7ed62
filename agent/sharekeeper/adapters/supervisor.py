"""Starts and stops the MPC node through the configured commands (a systemd unit or a local process).

A command succeeds with exit status 0; afterwards the node runs (start) or does not (stop). It prints one
JSON object whose field `changed` says whether it had to do anything; a command that prints none, as
`systemctl` does, counts as having changed nothing.
"""

import asyncio
import contextlib
import os
import signal
from typing import Final, Self

from sharekeeper.config_values import SupervisorConfig
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
        async with self._lock, _Outputs() as outputs:
            process = await self._spawn(verb, command, outputs)
            try:
                async with asyncio.timeout(self._timeout_seconds):
                    await process.wait()
            except TimeoutError:
                raise SupervisorFailed(
                    f"the {verb} command of the MPC node did not end within {self._timeout_seconds:g} s: {command[0]}"
                ) from None
            finally:
                await _kill(process)
            await outputs.drain()
        if process.returncode != 0:
            raise SupervisorFailed(
                f"the {verb} command of the MPC node ended with status {process.returncode}: "
                f"{_tail(outputs.stderr.kept) or _tail(outputs.stdout.kept) or 'no output'}"
            )
        return _changed(bytes(outputs.stdout.kept))

    async def _spawn(self, verb: str, command: tuple[str, ...], outputs: "_Outputs") -> asyncio.subprocess.Process:
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                cwd=self._config.directory,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=outputs.stdout.descriptor,
                stderr=outputs.stderr.descriptor,
                start_new_session=True,
            )
        except OSError as error:
            raise SupervisorFailed(
                f"the {verb} command of the MPC node cannot be run: {command[0]}: {error.strerror}; "
                f"correct node_agent.supervisor.{verb}"
            ) from None
        finally:
            outputs.release()


class _Output(asyncio.Protocol):
    """One pipe from a command: the first part is kept, the rest is read and dropped."""

    def __init__(self) -> None:
        self.kept = bytearray()
        self.ended = asyncio.Event()
        self.descriptor = -1

    def data_received(self, data: bytes) -> None:
        self.kept += data[: _MAX_OUTPUT_BYTES - len(self.kept)]

    def connection_lost(self, _error: Exception | None) -> None:
        self.ended.set()


class _Outputs:
    """Both pipes of one command. What the command started may keep them open, so they are closed on this side."""

    def __init__(self) -> None:
        self.stdout, self.stderr = _Output(), _Output()
        self._transports: list[asyncio.BaseTransport] = []

    async def __aenter__(self) -> Self:
        try:
            await self._open(self.stdout)
            await self._open(self.stderr)
        except OSError as error:
            await self.__aexit__()
            raise SupervisorFailed(f"no pipe to a command can be made: {error.strerror}; raise LimitNOFILE") from None
        return self

    async def _open(self, output: _Output) -> None:
        reading, output.descriptor = os.pipe()
        pipe = os.fdopen(reading, "rb", buffering=0)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: output, pipe)
        self._transports.append(transport)

    def release(self) -> None:
        """The command has its ends of the pipes; ours are closed."""
        for output in (self.stdout, self.stderr):
            if output.descriptor >= 0:
                os.close(output.descriptor)
                output.descriptor = -1

    async def drain(self) -> None:
        """What an ended command has written is read."""
        for output in (self.stdout, self.stderr):
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_DRAIN_SECONDS):
                    await output.ended.wait()

    async def __aexit__(self, *_exception: object) -> None:
        self.release()
        for transport in self._transports:
            transport.close()


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


def _tail(output: bytearray) -> str:
    return " ".join(output.decode(errors="replace").split())[-_SHOWN_CHARACTERS:]
