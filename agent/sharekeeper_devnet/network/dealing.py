"""`devnet deal`: key shares into the participants' key-share directories, public facts into the init file."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sharekeeper.adapters.durable_file import write_file
from sharekeeper.adapters.keyshare_store import DirectoryKeyShareStore
from sharekeeper.domain.identity import AccountId, SignerKey, TlsKey
from sharekeeper.domain.keyset import Keyset
from sharekeeper.domain.protocol_state import Participant, ParticipantInfo, Participants
from sharekeeper.errors import ConfigInvalid
from sharekeeper.protocol.codec import DecodeError, decode_keyset, field, integer, parse_json, text
from sharekeeper_devnet.network.curves import RandomBelow
from sharekeeper_devnet.network.dealer import deal, init_arguments

MAX_PARTICIPANTS: Final = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A participant of the dealt network: who it is, its signer key, and where its shares go."""

    participant: Participant
    signer_key: SignerKey
    keyshares_dir: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class DealPlan:
    """What to deal. `contract_config` overrides the contract's defaults by name."""

    epoch_id: int
    domains: int
    threshold: int
    members: tuple[Member, ...]
    contract_config: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dealt:
    """The keyset that was dealt now (`changed`) or before."""

    keyset: Keyset
    changed: bool


def read_members(path: Path) -> tuple[Member, ...]:
    """The participants file: a JSON list of objects with `account_id`, `url`, `tls_public_key`,
    `signer_account_pk` and `keyshares_dir` (relative to the file). Participant ids follow the order.

    Raises:
        ConfigInvalid: the file cannot be read or does not have that form.
    """  # noqa: D205  # the form of the file is one sentence
    try:
        value = parse_json(path.read_bytes())
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_PARTICIPANTS:
            raise DecodeError(f"expected a list of 1 to {MAX_PARTICIPANTS} participants")
        return tuple(_member(number, item, path.absolute().parent) for number, item in enumerate(value))
    except OSError as error:
        raise ConfigInvalid(f"the participants file {path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigInvalid(f"the participants file {path}: {error}") from None


async def deal_into_directories(plan: DealPlan, out: Path, random_below: RandomBelow) -> Dealt:
    """Every member's shares are in its directory, then the init arguments in `out`. A repeat changes nothing.

    `out` is written last: while it is missing nothing was dealt, and a new run deals fresh keys.

    Raises:
        ConfigInvalid: the plan cannot be dealt, or `out` holds another deal.
        StoreFailed, ShareStoreCorrupt: disk.
    """
    before = _read_init_file(out)
    if before is not None:
        return Dealt(keyset=await _dealt_before(plan, before, out), changed=False)
    ids = [member.participant.participant_id for member in plan.members]
    try:
        made = deal(
            epoch_id=plan.epoch_id,
            domains=plan.domains,
            threshold=plan.threshold,
            participant_ids=ids,
            random_below=random_below,
        )
    except ValueError as error:
        raise ConfigInvalid(f"these shares cannot be dealt: {error}") from None
    for member in plan.members if made.keyset.domains else ():
        shares = made.shares[member.participant.participant_id]
        await DirectoryKeyShareStore(member.keyshares_dir).store_permanent(made.keyset, shares)
    arguments = {**init_arguments(made, _participants(plan), _signer_keys(plan)), "config": _config(plan)}
    write_file(out, json.dumps(arguments, indent=2).encode() + b"\n", what="init file")
    return Dealt(keyset=made.keyset, changed=True)


async def _dealt_before(plan: DealPlan, before: Mapping[str, Any], out: Path) -> Keyset:
    cure = f"remove {out} to deal fresh keys"
    try:
        keyset = decode_keyset(field(before, "keyset"))
        threshold = integer(field(before, "parameters"), "threshold")
    except DecodeError as error:
        raise ConfigInvalid(f"{out} is not an init file ({error}); {cure}") from None
    wanted = (plan.epoch_id, plan.domains, plan.threshold, _config(plan), _signer_keys(plan))
    held = (
        keyset.epoch_id,
        len(keyset.domains),
        threshold,
        before.get("config"),
        before.get("signer_keys"),
    )
    if held != wanted:
        raise ConfigInvalid(f"{out} holds another deal; {cure}")
    for member in plan.members:
        if await DirectoryKeyShareStore(member.keyshares_dir).read(keyset) is None:
            raise ConfigInvalid(f"{member.keyshares_dir} lacks the shares dealt with {out}; {cure}")
    return keyset


def _read_init_file(path: Path) -> Mapping[str, Any] | None:
    """The JSON object in that file, None when there is no file. Raises `ConfigInvalid`."""
    try:
        value = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, DecodeError) as error:
        raise ConfigInvalid(f"{path} is not an init file ({error}); remove it to deal fresh keys") from None
    if not isinstance(value, dict):
        raise ConfigInvalid(f"{path} is not an init file; remove it to deal fresh keys")
    return value


def _member(number: int, value: object, base: Path) -> Member:
    info = ParticipantInfo(url=text(value, "url"), tls_public_key=TlsKey.parse(text(value, "tls_public_key")))
    account_id = AccountId(text(value, "account_id"))
    return Member(
        participant=Participant(account_id=account_id, participant_id=number, info=info),
        signer_key=SignerKey.parse(text(value, "signer_account_pk")),
        keyshares_dir=base / text(value, "keyshares_dir"),
    )


def _participants(plan: DealPlan) -> Participants:
    return Participants(members=tuple(member.participant for member in plan.members))


def _signer_keys(plan: DealPlan) -> dict[AccountId, str]:
    return {member.participant.account_id: str(member.signer_key) for member in plan.members}


def _config(plan: DealPlan) -> dict[str, Any] | None:
    return dict(plan.contract_config) or None
