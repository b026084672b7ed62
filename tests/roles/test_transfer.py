"""`make drill TRANSFER=web` reaches the configuration of both daemons."""

import json
import subprocess

import jinja2
import pyrage
import pytest

from sharekeeper.config import NetAddress, Transfer, load_backup_service, load_node_agent
from tests.roles.readme import CHECKOUT, load, specification

REQUIRED = {
    "mpc_node_account_id": "alice.test.near",
    "backup_agent_account_id": "alice.test.near",
    "backup_agent_operator_recipient": str(pyrage.x25519.Identity.generate().to_public()),
    "backup_agent_near_endpoints": [{"name": "another", "url": "https://near.example.org"}],  # mainnet asks for others
}
WEB = {"mpc_node_transfer": "web", "backup_agent_transfer": "web"}


def write(path, role, template, **changed):
    """`path` holds the TOML that the role writes with its defaults, except for what `changed` says."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["to_json"] = json.dumps
    text = (CHECKOUT / "roles" / role / "templates" / template).read_text(encoding="utf-8")
    made = {
        "ansible_managed": "made",
        "__mpc_node_url": "http://a",
        "__mpc_node_start": ["a"],
        "__mpc_node_stop": ["b"],
    }
    values = load(role, "defaults/main.yml") | REQUIRED | made | changed
    path.write_text(environment.from_string(text).render(values), encoding="utf-8")
    return path


def configurations(directory, **changed):
    """What node agent and backup service read from the roles' files."""
    node = load_node_agent(write(directory / "agent.toml", "mpc_node", "agent.toml.j2", **changed))
    service = load_backup_service(write(directory / "backup.toml", "backup_agent", "backup.toml.j2", **changed))
    return node, service


def test_both_daemons_read_a_web_transfer_on_the_same_port(tmp_path):
    node, service = configurations(tmp_path, **WEB)
    assert (node.transfer, service.transfer) == (Transfer.WEB, Transfer.WEB)
    assert (node.listen, service.node_web_port) == (NetAddress(host="127.0.0.1", port=8080), 8080)


def test_without_a_word_about_the_transfer_both_daemons_read_p2p(tmp_path):
    node, service = configurations(tmp_path)
    assert (node.transfer, service.transfer) == (Transfer.P2P, Transfer.P2P)
    assert (node.listen.port, service.node_agent_port) == (8079, 8079)


@pytest.mark.parametrize("role", ["mpc_node", "backup_agent"])
def test_the_transfer_is_one_of_two(role):
    option = specification(role)["options"][f"{role}_transfer"]
    assert (option["choices"], option["default"]) == (["p2p", "web"], "p2p")


@pytest.mark.needs("make")
@pytest.mark.parametrize(("words", "transfer"), [([], "p2p"), (["TRANSFER=web"], "web")])
def test_make_hands_the_transfer_to_the_playbook(words, transfer):
    made = subprocess.run(
        ["make", "--dry-run", "drill", *words], cwd=CHECKOUT, capture_output=True, text=True, timeout=30, check=True
    )
    assert f"sharekeeper_devnet.drill --drill loss -e localnet_transfer={transfer} " in made.stdout


def test_localnet_gives_both_roles_its_transfer():
    for role in ("mpc_node", "backup_agent"):
        text = (CHECKOUT / "inventory" / "localnet" / "group_vars" / f"{role}.yml").read_text(encoding="utf-8")
        assert f'{role}_transfer: "{{{{ localnet_transfer }}}}"' in text
