"""Whether a compose file is the one that a policy's rule demands (check 14)."""

import re
from dataclasses import replace

from sharekeeper.attestation.compose_file import (
    MPC_IMAGE,
    NEAR_IMAGE,
    ComposeParameters,
    Images,
    render_compose_file,
)
from sharekeeper.attestation.policy import ComposeRule, Listed, Rendered
from sharekeeper.domain.attestation import CodeHash, VaultKind
from sharekeeper.domain.identity import Role
from sharekeeper.domain.keyset import Sha256Hex
from sharekeeper.spec import SLOTS


def check_compose_file(
    compose_file: str, rule: ComposeRule, *, role: Role, agent: CodeHash, allowed: frozenset[CodeHash]
) -> str:
    """What the compose file is, in words.

    Args:
        compose_file: as the app-compose has it.
        rule: what the policy demands.
        role: of the machine that shows it.
        agent: the image digest the machine measured.
        allowed: image digests that the contract allows for the role.

    Raises:
        ValueError: it is another one; or an image in it is not allowed.
    """
    match rule:
        case Listed():
            digest = Sha256Hex.of(compose_file.encode())
            if digest not in rule.compose_files:
                raise ValueError(f"SHA-256 {digest} is on no list")
            return f"SHA-256 {digest} is listed"
        case Rendered():
            return _check_rendered(compose_file, rule, role=role, agent=agent, allowed=allowed)


def _check_rendered(
    compose_file: str, rule: Rendered, *, role: Role, agent: CodeHash, allowed: frozenset[CodeHash]
) -> str:
    near, mpc = _image(compose_file, NEAR_IMAGE), _image(compose_file, MPC_IMAGE)
    if near is None or (mpc is not None and role is Role.BACKUP_SERVICE):
        raise ValueError(f"it does not have the images of a {role}")
    wanted = [
        render_compose_file(role, parameters, Images(agent=agent, near=near, mpc=mpc))
        for parameters in _variants(rule.parameters, role)
    ]
    if compose_file not in wanted:
        raise ValueError(f"it is not the one of this account and network: {_difference(compose_file, wanted)}")
    for repository, image in ((NEAR_IMAGE, near), (MPC_IMAGE, mpc)):
        if image is not None and image not in allowed:
            raise ValueError(f"image {image} of {repository} is not allowed for the {role}; the network votes for it")
    return f"the one of this account and network, SHA-256 {Sha256Hex.of(compose_file.encode())}"


def _variants(parameters: ComposeParameters, role: Role) -> tuple[ComposeParameters, ...]:
    if role is Role.NODE:
        return (replace(parameters, vault=None, slot=None),)
    if parameters.vault is not None:
        return (parameters,)
    return tuple(replace(parameters, vault=vault, slot=slot) for vault in VaultKind for slot in range(SLOTS))


def _image(compose_file: str, repository: str) -> CodeHash | None:
    """The digest that the file pins this repository's image to; None without exactly one."""
    digests = re.findall(rf"^    image: {re.escape(repository)}@sha256:([0-9a-f]{{64}})$", compose_file, re.MULTILINE)
    return CodeHash(digests[0]) if len(digests) == 1 else None


def _difference(compose_file: str, wanted: list[str]) -> str:
    """The first line that differs from the nearest of `wanted`."""
    lines = compose_file.splitlines()
    first = min((_first_difference(lines, other.splitlines()) for other in wanted), key=lambda pair: -pair[0])
    return first[1]


def _first_difference(lines: list[str], wanted: list[str]) -> tuple[int, str]:
    number = next(
        (i for i, (a, b) in enumerate(zip(lines, wanted, strict=False)) if a != b), min(len(lines), len(wanted))
    )
    has, wants = ((text[number : number + 1] or ["nothing"])[0].strip()[:120] for text in (lines, wanted))
    return number, f"line {number + 1} is {has!r}, expected {wants!r}"
