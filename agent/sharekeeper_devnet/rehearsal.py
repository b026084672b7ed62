"""What only a rehearsal needs: steps of the drill that no operator of a real machine takes.

    python -m sharekeeper_devnet.rehearsal check --dir DIR --free-mb N --listen HOST:PORT ...
    python -m sharekeeper_devnet.rehearsal offline-keys --dir DIR --operator NAME ...
    python -m sharekeeper_devnet.rehearsal lose --account-id ID --dir DIR
    python -m sharekeeper_devnet.rehearsal history --rpc URL --contract ID
    python -m sharekeeper_devnet.rehearsal holding --url URL --timeout S

Each prints one line of JSON; a failure prints `{"type": "error", "code", "message"}` and exits with its status.
"""

import argparse
import asyncio
import contextlib
import errno
import json
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

import aiohttp
import pyrage

from sharekeeper.adapters.clock import SystemClock
from sharekeeper.adapters.durable_file import ensure_directory, write_file
from sharekeeper.adapters.near_rpc import NearRpc
from sharekeeper.crypto.sealing import recipient_of
from sharekeeper.domain.identity import AccountId
from sharekeeper.domain.protocol_state import BlockRef, NotInitialized, ProtocolState, Recovery, running_part
from sharekeeper.errors import (
    AddressInUse,
    ChainAnswerInvalid,
    SharekeeperError,
    StoreFailed,
    UnknownAccount,
    WaitTimedOut,
)
from sharekeeper.keys import read_identity
from sharekeeper.ops.state_words import key_event_facts
from sharekeeper.protocol.codec import field, integer, text
from sharekeeper_devnet.supervise import sweep

SCHEMA: Final = 1
_MEGABYTE: Final = 1_000_000
_READS_AT_ONCE: Final = 8
_READ_SECONDS: Final = 5.0
_DYING_SECONDS: Final = 0.05
_POLL_SECONDS: Final = 0.3


# --- check ---------------------------------------------------------------------------------------


def check_host(directory: Path, free_mb: int, listen: Sequence[str]) -> dict[str, Any]:
    """This computer can hold the network: room below `directory`, and every `host:port` of `listen` is free.

    Raises:
        StoreFailed: less than `free_mb` megabytes are free.
        AddressInUse: addresses are taken, or not of this computer; the message names all of them.
    """
    there = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free // _MEGABYTE
    if free < free_mb:
        raise StoreFailed(
            f"{directory} has {free} MB free and the drill needs {free_mb}: free some, or name another directory in "
            "SHAREKEEPER_RUN"
        )
    taken = [f"{address} ({reason})" for address in listen if (reason := _objection(address))]
    if taken:
        raise AddressInUse(f"the drill cannot listen on {', '.join(taken)}: end what uses them, then start it again")
    return {"type": "host", "free_mb": free, "addresses": len(listen)}


def _objection(address: str) -> str | None:
    """Why nothing can listen there, or None."""
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(port)))
            probe.listen(1)
        except OSError as error:
            return "taken" if error.errno == errno.EADDRINUSE else str(error.strerror)
    return None


# --- offline keys -----------------------------------------------------------------------------------


def offline_keys(directory: Path, operators: Sequence[str]) -> dict[str, Any]:
    """Each operator has an age identity in `DIR/NAME.age` (0600), made where there was none; the recipients.

    Raises:
        StoreFailed: disk.
        KeysMissing: a file that is there is no age identity.
    """
    ensure_directory(directory)
    made = [name for name in operators if _ensure_identity(directory / f"{name}.age")]
    recipients = {name: recipient_of(read_identity(directory / f"{name}.age")) for name in operators}
    return {"type": "offline_keys", "changed": bool(made), "recipients": recipients}


def _ensure_identity(path: Path) -> bool:
    if path.exists():
        return False
    identity = pyrage.x25519.Identity.generate()  # type: ignore[attr-defined]  # the compiled module carries no types
    write_file(path, f"{identity}\n".encode(), what="offline key")
    return True


# --- lose -------------------------------------------------------------------------------------------


def lose(account_id: AccountId, directory: Path) -> dict[str, Any]:
    """The machine below `directory` is gone: every process killed, then its disk erased.

    Raises:
        SupervisorFailed: a process cannot be killed.
        StoreFailed: the directory cannot be erased.
    """
    there = directory.exists()
    stopped = _kill_machine(directory)
    try:
        if there:
            shutil.rmtree(directory)
    except OSError as error:
        raise StoreFailed(f"{directory} cannot be erased: {error.strerror}") from None
    return {"type": "loss", "changed": there, "account_id": account_id, "stopped": stopped}


def _kill_machine(directory: Path) -> list[str]:
    """No daemon of the machine is left, nor a process on its way to become one; the names of the daemons that ran.

    A node agent that is killed while it starts the MPC node leaves a process that no pid file names yet.
    """
    stopped: list[str] = []
    while True:
        names, pids = sweep(directory, grace_seconds=0), _processes_of(directory)
        if not names and not pids:
            return stopped
        stopped += names
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(_DYING_SECONDS)


def _processes_of(directory: Path) -> list[int]:
    """Every process whose command names a file below the directory."""
    below = os.fsencode(f"{directory.absolute()}/")
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdecimal() and int(entry.name) != os.getpid():
                words = (entry / "cmdline").read_bytes().split(b"\0")
                found += [int(entry.name)] if any(word.startswith(below) for word in words) else []
    return found


# --- history ----------------------------------------------------------------------------------------


async def history(rpc: NearRpc) -> dict[str, Any]:
    """Every change of the protocol state, from the contract's first Running block to the newest final one.

    A transition has `height`, `time` (block time, seconds since 1970), `state`, `epoch_id`, `threshold`, `tls_keys`
    (those in force, by account), `public_keys` (of the keyset in force, by domain id), in Initializing and Resharing
    `key_event` (`ops.state_words`), and in Recovery `recovery_id`, `account_id`, `tls_public_key`,
    `shares_confirmed` and, once they are confirmed, `transfer`: `web` if the contract has the ephemeral keys that
    they were handed over with, else `p2p`.

    Raises:
        ChainUnavailable, ChainAnswerInvalid: as every read; the endpoint must keep every block of the drill.
    """
    newest_first = [view async for view in _views(rpc)]
    transitions: list[dict[str, Any]] = []
    for block, state in reversed(newest_first):
        facts = _facts(state)
        if not transitions or facts != {name: transitions[-1][name] for name in facts}:
            seen = {"height": block.height, "time": block.timestamp_ns / 10**9, **facts}
            transitions.append({**seen, "transfer": await _transfer(rpc, block, state)})
    return {"type": "history", "transitions": transitions}


async def _transfer(rpc: NearRpc, block: BlockRef, state: ProtocolState) -> str | None:
    if not isinstance(state, Recovery) or not state.shares_confirmed:
        return None
    slots = await rpc.ephemeral_keys(state.recovering.account_id, block)
    answers = [keys.node.record for keys in slots if keys.node is not None]
    return "web" if any(record.recovery_id == state.recovery_id for record in answers) else "p2p"


async def _views(rpc: NearRpc) -> AsyncIterator[tuple[BlockRef, ProtocolState]]:
    """Blocks and states, newest first, down to the block at which the contract was not there yet."""
    block_hash = (await rpc.head()).hash
    while True:
        blocks: list[BlockRef] = []
        while len(blocks) < _READS_AT_ONCE and (not blocks or blocks[-1].height > 0):
            block, block_hash = await _block(rpc, block_hash)
            blocks.append(block)
        for block, state in zip(blocks, await asyncio.gather(*(_state(rpc, one) for one in blocks)), strict=True):
            if state is None or isinstance(state, NotInitialized):
                return
            yield block, state


async def _state(rpc: NearRpc, at: BlockRef) -> ProtocolState | None:
    try:
        return await rpc.protocol_state(at)
    except UnknownAccount:
        return None


async def _block(rpc: NearRpc, block_hash: str) -> tuple[BlockRef, str]:
    """The block with that hash, and the hash of the one before it."""
    answer = await rpc.endpoint.request("block", {"block_id": block_hash}, timeout_seconds=_READ_SECONDS)
    try:
        header = field(answer, "header")
        block = BlockRef(
            height=integer(header, "height"),
            hash=text(header, "hash"),
            timestamp_ns=int(text(header, "timestamp_nanosec")),
        )
        return block, text(header, "prev_hash")
    except ValueError as error:
        raise ChainAnswerInvalid(f"block {block_hash}: {error}") from None


def _facts(state: ProtocolState) -> dict[str, Any]:
    running = running_part(state)
    members = () if running is None else running.participants.members
    domains = () if running is None else running.keyset.domains
    facts: dict[str, Any] = {
        "state": type(state).__name__,
        "epoch_id": None if running is None else running.keyset.epoch_id,
        "threshold": None if running is None else running.threshold,
        "tls_keys": {str(member.account_id): str(member.info.tls_public_key) for member in members},
        "public_keys": {str(domain.domain_id): str(domain.public_key) for domain in domains},
        "key_event": key_event_facts(state),
        "recovery_id": None,
        "account_id": None,
        "tls_public_key": None,
        "shares_confirmed": None,
    }
    if isinstance(state, Recovery):
        facts |= {
            "recovery_id": state.recovery_id,
            "account_id": str(state.recovering.account_id),
            "tls_public_key": str(state.recovering.info.tls_public_key),
            "shares_confirmed": state.shares_confirmed,
        }
    return facts


# --- holding ----------------------------------------------------------------------------------------


async def holding(url: str, timeout_seconds: float) -> dict[str, Any]:
    """What the backup service says at that page of its own once it holds the keyset in force.

    For machines that nobody can look into: their word is what there is, and the recovery shows whether it was true.

    Raises:
        WaitTimedOut: it did not within `timeout_seconds`; the message has its reasons.
    """
    clock = SystemClock()
    deadline = clock.monotonic() + timeout_seconds
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_READ_SECONDS)) as session:
        while True:
            status = await _page(session, url)
            if status.get("healthy") and status.get("current_backup"):
                return status
            if clock.monotonic() > deadline:
                reasons = "; ".join(status.get("reasons", ())) or "it does not answer"
                raise WaitTimedOut(f"{url} does not show the keyset in force within {timeout_seconds:g} s: {reasons}")
            await clock.sleep(_POLL_SECONDS)


async def _page(session: aiohttp.ClientSession, url: str) -> dict[str, Any]:
    try:
        async with session.get(url) as answer:
            status: dict[str, Any] = await answer.json()
            return status
    except (aiohttp.ClientError, TimeoutError):
        return {}


# --- command line ----------------------------------------------------------------------------------


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rehearsal", description="Steps of a drill that only a rehearsal needs.")
    verbs = parser.add_subparsers(dest="verb", required=True)
    check = verbs.add_parser("check", help="this computer can hold the network")
    check.add_argument("--dir", type=Path, required=True)
    check.add_argument("--free-mb", type=int, required=True)
    check.add_argument("--listen", nargs="*", default=[], metavar="HOST:PORT")
    keys = verbs.add_parser("offline-keys", help="an age identity for each operator")
    keys.add_argument("--dir", type=Path, required=True)
    keys.add_argument("--operator", nargs="+", required=True)
    loss = verbs.add_parser("lose", help="kill every process of a machine and erase its disk")
    loss.add_argument("--account-id", type=AccountId, required=True)
    loss.add_argument("--dir", type=Path, required=True)
    held = verbs.add_parser("holding", help="what a backup service says once it holds the keyset in force")
    held.add_argument("--url", required=True)
    held.add_argument("--timeout", type=float, required=True)
    past = verbs.add_parser("history", help="every change of the protocol state")
    past.add_argument("--rpc", required=True)
    past.add_argument("--contract", type=AccountId, required=True)
    return parser


async def _read_history(url: str, contract_id: AccountId) -> dict[str, Any]:
    async with NearRpc(url=url, contract_id=contract_id, chain_id="", genesis_hash=None, clock=SystemClock()) as rpc:
        return await history(rpc)


def _perform(options: argparse.Namespace) -> dict[str, Any]:
    if options.verb == "check":
        return check_host(options.dir, options.free_mb, options.listen)
    if options.verb == "offline-keys":
        return offline_keys(options.dir, options.operator)
    if options.verb == "lose":
        return lose(options.account_id, options.dir)
    if options.verb == "holding":
        return asyncio.run(holding(options.url, options.timeout))
    return asyncio.run(_read_history(options.rpc, options.contract))


def main(arguments: Sequence[str] | None = None) -> int:
    """Performs one verb; returns the exit status."""
    try:
        result, status = _perform(_parser().parse_args(arguments)), 0
    except SharekeeperError as error:
        result, status = {"type": "error", "code": error.code, "message": str(error)}, error.exit_status
    print(json.dumps({"schema": SCHEMA, **result}))  # noqa: T201  # the one line is the interface
    return status


if __name__ == "__main__":
    sys.exit(main())
