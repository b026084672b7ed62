"""`vote_new_parameters`: who the participants are to be, and at which thresholds, checked anew by every vote.

A vote is kept by the digest of the proposal, and a proposal once: what one participant votes for costs the others
little, and `state` shows digests (docs/contract.md, "Proposals").
"""

from contract import codec, domains, records, recovery, resharing, votes
from contract.codec import ContractError
from contract.records import Account
from contract.resharing import Parameters
from contract.session import MOST_PARTICIPANTS, Session, participant_info
from contract.votes import OpenVotes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from contract.codec import Json
    from contract.views import Reader

PARAMETERS_VOTE = "vote_new_parameters, a vote below the threshold"
NO_DOMAINS = "vote_new_parameters, when there is no domain to reshare"


def vote_new_parameters(session: Session, arguments: "Json") -> None:
    """A vote for a proposal; at the threshold its resharing begins, which ends a Recovery as expiry does."""
    given = codec.fields(arguments, "arguments", ("prospective_epoch_id", "proposal"))
    session.require_governing()
    header = session.header
    epoch_id = max(header.epoch_id, header.previously_cancelled_epoch_id or 0) + 1
    if codec.integer(given["prospective_epoch_id"], "prospective_epoch_id") != epoch_id:
        raise ContractError(f"prospective_epoch_id is not {epoch_id}; read the view state")
    parameters, removed = checked_proposal(session, given["proposal"], epoch_id)
    if cast(session, proposal_json(parameters), removed) < header.threshold:
        session.outcome = PARAMETERS_VOTE
        return
    if session.store.get("recovery") is not None:
        recovery.stop(session, session.height)
    if session.store.get("keyset"):
        resharing.begin(session, parameters)
        return
    session.outcome = NO_DOMAINS
    votes.drop_all(session.store)
    resharing.install(session, parameters, "", "")


def checked_proposal(session: Session, value: "Json", epoch_id: int) -> "tuple[Parameters, list[int]]":
    """The parameters proposed and the ids of the participants they remove; a refusal of what the rules forbid."""
    given = codec.fields(value, "proposal", ("parameters",), ("per_domain_thresholds",))
    parameters = codec.fields(given["parameters"], "parameters", ("participants", "threshold"))
    infos = codec.fields(parameters["participants"], "participants", ("next_id", "participants"))
    entries = codec.items(infos["participants"], "participants", MOST_PARTICIPANTS)
    threshold = codec.integer(parameters["threshold"], "threshold", 1, len(entries))
    registry = domains.parsed(session.store.get("domains") or "")
    least = max([session.header.threshold] + [domain["reconstruction_threshold"] for domain in registry])
    lines, removed = checked_participants(session, entries, infos["next_id"], least)
    thresholds = checked_thresholds(registry, given.get("per_domain_thresholds", {}), len(entries))
    next_id: int = infos["next_id"]
    return Parameters(epoch_id, next_id, threshold, thresholds, "\n".join(lines)), removed


def checked_participants(
    session: Session, entries: "list[Any]", next_id: "Json", least: int
) -> "tuple[list[str], list[int]]":
    """The lines of the new set, in the order of participant ids, and the ids it removes."""
    stored = records.participants(session.store)
    current = {entry[0]: entry for entry in stored}
    seen = {}
    new = {}
    for entry in entries:
        if not isinstance(entry, list) or len(entry) != 3:  # noqa: PLR2004 - near/mpc's triple
            raise ContractError("each participant must be a list of account id, participant id and info")
        name = codec.account_id(entry[0], "the account of a participant")
        participant_id = codec.integer(entry[1], f"the participant id of {name}")
        if name in seen:
            raise ContractError(f"{name} is listed twice among the participants; list it once")
        seen[name] = True
        if name not in current:
            new[participant_id] = new_participant(session, name, participant_id, entry[2])
        elif entry != current[name]:
            raise ContractError(f"{name} must keep its participant id and the info in force; read the view state")
    first = session.header.next_participant_id
    added = [new[number] for number in range(first, first + len(new)) if number in new]
    retained = len(entries) - len(added)
    if codec.integer(next_id, "participants.next_id") != first + len(added) or retained + len(new) != len(entries):
        raise ContractError(f"new participants must have the ids from {first} on, and participants.next_id the next")
    if retained < least:
        raise ContractError(f"only {retained} of the participants stay; at least {least} must, to pass the keys on")
    kept = records.participant_lines(session.store).split("\n")
    lines = [kept[index] for index in range(len(stored)) if stored[index][0] in seen]
    return lines + added, [entry[1] for entry in stored if entry[0] not in seen]


def new_participant(session: Session, name: str, participant_id: int, info: "Json") -> str:
    """The line of an account that is to become a participant: exactly its candidate."""
    url, tls = participant_info(info, session.config, f"the info of {name}")
    candidate = Account(session.store, name).candidate
    if candidate is None or candidate.url != url or candidate.tls != tls:
        raise ContractError(f"the info of {name} is not that of its candidate; its node calls submit_participant_info")
    return records.entry_line(name, participant_id, url, tls)


def checked_thresholds(registry: "list[Any]", value: "Json", participants: int) -> list[list[int]]:
    """[domain id, threshold] of the domains named, in registry order; the others' must suit the new set too."""
    names = [str(domain["id"]) for domain in registry]
    given = codec.fields(value, "per_domain_thresholds", (), tuple(names))
    thresholds = []
    for index, domain in enumerate(registry):
        if names[index] in given:
            where = f"the threshold of domain {names[index]}"
            thresholds.append([domain["id"], codec.integer(given[names[index]], where, 1, participants)])
        elif domain["reconstruction_threshold"] > participants:
            raise ContractError(
                f"domain {names[index]} needs {domain['reconstruction_threshold']} participants; "
                "name a lower threshold for it in per_domain_thresholds"
            )
    return thresholds


def proposal_json(parameters: Parameters) -> str:
    """The canonical text whose SHA-256 is the proposal's digest."""
    participants = f'{{"next_id":{parameters.next_participant_id},"participants":[{json_lines(parameters.lines)}]}}'
    proposed = f'{{"participants":{participants},"threshold":{parameters.threshold}}}'
    thresholds = thresholds_json(parameters.thresholds)
    proposal = f'{{"parameters":{proposed},"per_domain_thresholds":{thresholds}}}'
    return f'{{"prospective_epoch_id":{parameters.epoch_id},"proposal":{proposal}}}'


def json_lines(lines: str) -> str:
    return lines.replace("\n", ",")


def thresholds_json(thresholds: list[list[int]]) -> str:
    return "{" + ",".join([f'"{entry[0]}":{entry[1]}' for entry in thresholds]) + "}"


def cast(session: Session, text: str, removed: list[int]) -> int:
    """Casts the caller's vote for the proposal, keeping its text once; the number of votes it has now."""
    account_id = session.account.account_id
    opened = OpenVotes(session.store, votes.PARAMETERS)
    entry = opened.cast(codec.to_hex(session.chain.sha256(text.encode())), account_id)
    if len(entry) == 2:  # noqa: PLR2004 - a choice nobody has voted for: [digest, voters]
        entry.extend([removed, None])
    if entry[3] is None:
        place = records.place_in(records.participant_lines(session.store), account_id)
        for other in opened.entries:
            if other[3] == place:
                other[3] = None
        entry[3] = place
        session.store.set(f"proposal/{place}", text)
    opened.save()
    return len(entry[1])


def proposed_parameters(reader: "Reader", arguments: "Json") -> str:
    """The proposal of a digest that `state` shows, or null: SHA-256 of the answer is the digest."""
    given = codec.fields(arguments, "arguments", ("digest",))
    digest = codec.digest(given["digest"], "digest")
    for entry in OpenVotes(reader.store, votes.PARAMETERS).entries:
        if entry[0] == digest and entry[3] is not None:
            return reader.store.get(f"proposal/{entry[3]}") or "null"
    return "null"
