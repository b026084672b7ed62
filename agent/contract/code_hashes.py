"""Which code may run: participants vote to allow a code hash or measurements, or to withdraw them.

Three kinds, each with its own list and its own votes. At `threshold` equal votes a value is allowed; withdrawn, it
stays allowed for `code_hash_grace_blocks` more, so that the machines that run it can be replaced. Only votes that
would change something are kept: none given before can count again after its value was allowed or withdrawn.

A value is kept as the text that views show of it, and what is stored are lines, not JSON, which takes MicroPython ten
times as long: participants who all vote for something else must not make votes and views too dear.
"""

from contract import codec, records
from contract.codec import ContractError
from contract.session import Session

TYPE_CHECKING = False
if TYPE_CHECKING:
    from contract.codec import Json
    from contract.records import Store
    from contract.views import Reader

NODE_CODE = "node"
BACKUP_SERVICE_CODE = "backup_service"
MEASUREMENTS = "measurements"
KINDS = (NODE_CODE, BACKUP_SERVICE_CODE, MEASUREMENTS)
MOST_ALLOWED = 16
REGISTER_BYTES = 48
REGISTERS = ("mrtd", "rtmr0", "rtmr1", "rtmr2", "key_provider_event_digest")
LASTING = "null"


def vote_node_code_hash(session: Session, arguments: "Json") -> None:
    """A vote on the hash of the code that MPC nodes may run."""
    vote_code_hash(session, arguments, NODE_CODE)


def vote_backup_service_code_hash(session: Session, arguments: "Json") -> None:
    """A vote on the hash of the code that backup services may run."""
    vote_code_hash(session, arguments, BACKUP_SERVICE_CODE)


def vote_code_hash(session: Session, arguments: "Json", kind: str) -> None:
    given = codec.fields(arguments, "arguments", ("code_hash", "allow"))
    value = f'"code_hash":"{codec.digest(given["code_hash"], "code_hash")}"'
    vote(session, kind, value, codec.boolean(given["allow"], "allow"))


def vote_measurements(session: Session, arguments: "Json") -> None:
    """A vote on what the TEE that code runs in may measure."""
    given = codec.fields(arguments, "arguments", ("measurements", "allow"))
    measured = codec.fields(given["measurements"], "measurements", REGISTERS)
    registers = []
    for name in REGISTERS:
        codec.hexadecimal(measured[name], f"measurements.{name}", REGISTER_BYTES, REGISTER_BYTES)
        registers.append(f'"{name}":"{measured[name]}"')
    value = '"measurements":{' + ",".join(registers) + "}"
    vote(session, MEASUREMENTS, value, codec.boolean(given["allow"], "allow"))


def vote(session: Session, kind: str, value: str, allow: bool) -> None:
    """The caller's vote on `value` takes the place of its open vote of that kind; at the threshold it takes effect."""
    session.require_governing()
    allowed = allowed_now(session, kind)
    own = session.account.account_id + ":"
    votes = [line for line in open_votes(session, kind, participants_now(session)) if not line.startswith(own)]
    if would_change(allowed, value, allow):
        proposal = value + (',"allow":true' if allow else ',"allow":false')
        votes.append(own + proposal)
        if len([line for line in votes if line.endswith(":" + proposal)]) >= session.header.threshold:
            votes = [line for line in votes if not line.endswith(":" + proposal)]
            take_effect(session, kind, allowed, value, allow)
    session.store.set(votes_key(kind), "\n".join(votes))


def allowed_key(kind: str) -> str:
    return f"allowed/{kind}"


def votes_key(kind: str) -> str:
    return f"code-votes/{kind}"


def lines(source: "Session | Reader", key: str) -> list[str]:
    stored = source.store.get(key)
    return stored.split("\n") if stored else []


def allowed_now(source: "Session | Reader", kind: str) -> "list[tuple[str, str]]":
    """What is allowed at this height: the height at which that ends, or `LASTING`, and the value."""
    entries = []
    for line in lines(source, allowed_key(kind)):
        until, _, value = line.partition(":")
        if until == LASTING or source.height < int(until):
            entries.append((until, value))
    return entries


def participants_now(source: "Session | Reader") -> dict[str, bool]:
    """The participants' account ids, read off their lines (records.py)."""
    return {line[2 : line.find('"', 2)]: True for line in records.participant_lines(source.store).split("\n")}


def open_votes(source: "Session | Reader", kind: str, current: dict[str, bool]) -> list[str]:
    """The lines of the votes of the participants `current`, oldest first."""
    return [line for line in lines(source, votes_key(kind)) if line[: line.find(":")] in current]


def drop_votes(store: "Store") -> None:
    """Another participant set governs: no vote given under the one before counts for it."""
    for kind in KINDS:
        records.remove(store, votes_key(kind))


def would_change(allowed: "list[tuple[str, str]]", value: str, allow: bool) -> bool:
    """Whether the vote, taking effect, would change what is allowed. Refuses to withdraw what is not allowed."""
    for until, one in allowed:
        if one == value:
            return (until == LASTING) != allow
    if not allow:
        raise ContractError("that is not allowed now, so there is nothing to withdraw; read what is allowed")
    return True


def take_effect(session: Session, kind: str, allowed: "list[tuple[str, str]]", value: str, allow: bool) -> None:
    """`value` is allowed with no end, or until its grace time is over."""
    others = [entry for entry in allowed if entry[1] != value]
    if len(others) >= MOST_ALLOWED:
        raise ContractError(f"{MOST_ALLOWED} are allowed already, the most there may be; withdraw one first")
    others.append((LASTING if allow else str(session.height + session.config["code_hash_grace_blocks"]), value))
    session.store.set(allowed_key(kind), "\n".join([until + ":" + one for until, one in others]))


def allowed_node_code_hashes(reader: "Reader", arguments: "Json") -> str:
    return allowed_json(reader, arguments, NODE_CODE)


def allowed_backup_service_code_hashes(reader: "Reader", arguments: "Json") -> str:
    return allowed_json(reader, arguments, BACKUP_SERVICE_CODE)


def allowed_measurements(reader: "Reader", arguments: "Json") -> str:
    return allowed_json(reader, arguments, MEASUREMENTS)


def allowed_json(reader: "Reader", arguments: "Json", kind: str) -> str:
    codec.fields(arguments, "arguments", ())
    entries = [f'{{{value},"allowed_until":{until}}}' for until, value in allowed_now(reader, kind)]
    return f"[{','.join(entries)}]"


def code_hash_votes(reader: "Reader", arguments: "Json") -> str:
    """The open votes of each kind: what for, and the participants that gave them."""
    codec.fields(arguments, "arguments", ())
    current = participants_now(reader)
    kinds = [f'"{kind}":{votes_json(reader, kind, current)}' for kind in KINDS]
    return "{" + ",".join(kinds) + "}"


def votes_json(reader: "Reader", kind: str, current: dict[str, bool]) -> str:
    proposals: list[str] = []
    voters: dict[str, list[str]] = {}
    for line in open_votes(reader, kind, current):
        name, _, proposal = line.partition(":")
        if proposal not in voters:
            proposals.append(proposal)  # MicroPython's dicts keep no order
            voters[proposal] = []
        voters[proposal].append(name)
    entries = [proposal + ',"voters":["' + '","'.join(voters[proposal]) + '"]' for proposal in proposals]
    return "[{" + "},{".join(entries) + "}]" if entries else "[]"
