"""`sharekeeper vault status`: the survival table of a backup service, before anything is deployed."""

import pytest

from sharekeeper import errors
from sharekeeper.domain.attestation import VaultKind
from sharekeeper.domain.identity import Role
from tests.hard_launch.values import BACKUP_SERVICE_ADDRESSES, addresses_toml, measured_toml
from tests.integration.cli import call


@pytest.fixture
def files(tmp_path):
    """Writes the configuration of a machine; its options."""

    def write(role=Role.BACKUP_SERVICE, *, sibling=False, **changed):
        (tmp_path / "measured.toml").write_text(measured_toml(role, **changed))
        options = ["--measured", tmp_path / "measured.toml"]
        if sibling:
            (tmp_path / "addresses.toml").write_text(addresses_toml(BACKUP_SERVICE_ADDRESSES))
            options += ["--addresses", tmp_path / "addresses.toml"]
        return options

    return write


async def status(capsys, *options):
    return (await call(capsys, "vault", "status", *options, "--json")).json


async def test_a_sealed_vault_alone_survives_a_restart_and_nothing_else(files, capsys):
    found = await status(capsys, *files(vault=VaultKind.SEALED))
    assert (found["type"], found["vault"], found["sibling"]) == ("vault_status", "sealed", "none")
    assert [each["mishap"] for each in found["mishaps"] if each["survives"]] == ["restarted"]
    assert found["survives_all"] is False


async def test_memory_with_a_sibling_survives_what_the_sibling_confirmed(files, capsys):
    options = files(vault=VaultKind.MEMORY, sibling=True)
    found = await status(capsys, *options)
    assert found["sibling"] == "unconfirmed"
    assert {each["survives"] for each in found["mishaps"]} == {None}
    confirmed = await status(capsys, *options, "--sibling-confirmed")
    assert confirmed["sibling"] == "confirmed"
    assert confirmed["survives_all"] is True
    assert not any(each["own_copy"] for each in confirmed["mishaps"])


async def test_addresses_without_a_sibling_name_none(files, capsys, tmp_path):
    addresses = {name: value for name, value in BACKUP_SERVICE_ADDRESSES.items() if name != "sibling"}
    (tmp_path / "alone.toml").write_text(addresses_toml(addresses))
    found = await status(capsys, *files(vault=VaultKind.SEALED), "--addresses", tmp_path / "alone.toml")
    assert found["sibling"] == "none"


async def test_people_get_a_table_that_says_no_loudly(files, capsys):
    ended = await call(capsys, "vault", "status", *files(vault=VaultKind.SEALED))
    assert ended.out.splitlines()[0] == "vault: sealed; sibling: none"
    assert (
        "microcode or BIOS updated        lost      NO        nothing: only the node has the shares then" in ended.out
    )


async def test_a_node_has_no_vault(files, capsys):
    ended = await call(capsys, "vault", "status", *files(Role.NODE))
    assert ended.status == errors.ConfigInvalid.exit_status
    assert "is the configuration of a node" in ended.err


async def test_a_confirmed_sibling_must_have_an_address(files, capsys):
    ended = await call(capsys, "vault", "status", *files(), "--sibling-confirmed")
    assert ended.status == errors.ConfigInvalid.exit_status


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--config", "x", "--measured", "y"],
        ["--config", "x", "--addresses", "y"],
        ["--config", "x", "--sibling-confirmed"],
    ],
)
async def test_one_configuration_is_named_and_only_a_tees_has_more(options, capsys):
    assert (await call(capsys, "vault", "status", *options)).status == 2
