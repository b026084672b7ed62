"""`make drill TRANSFER=web` reaches the configuration of both daemons."""

import json
import subprocess
import tomllib

import jinja2
import pytest

from tests.roles.readme import CHECKOUT, load, specification

REQUIRED = {
    "mpc_node_account_id": "alice.test.near",
    "backup_agent_account_id": "alice.test.near",
    "backup_agent_operator_recipient": "age1...",
}


def rendered(role, template, **changed):
    """The TOML that a role writes with its defaults, except for what `changed` says."""
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["to_json"] = json.dumps
    text = (CHECKOUT / "roles" / role / "templates" / template).read_text(encoding="utf-8")
    made = {"ansible_managed": "made", "__mpc_node_url": "http://a", "__mpc_node_start": ["a"], "__mpc_node_stop": []}
    return tomllib.loads(
        environment.from_string(text).render(load(role, "defaults/main.yml") | REQUIRED | made | changed)
    )


def test_both_sides_of_a_web_transfer_name_the_same_port():
    node = rendered("mpc_node", "agent.toml.j2", mpc_node_transfer="web")["node_agent"]
    service = rendered("backup_agent", "backup.toml.j2", backup_agent_transfer="web")["backup_service"]
    assert (node["transfer"], node["web_listen"]) == ("web", "127.0.0.1:8080")
    assert (service["transfer"], service["node_web_port"]) == ("web", 8080)


def test_without_a_word_about_the_transfer_it_is_p2p():
    node = rendered("mpc_node", "agent.toml.j2")["node_agent"]
    service = rendered("backup_agent", "backup.toml.j2")["backup_service"]
    assert not {"transfer", "web_listen", "node_web_port"} & (node.keys() | service.keys())
    assert (node["listen"], service["node_agent_port"]) == ("127.0.0.1:8079", 8079)


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
    assert f"sharekeeper_devnet.drill -e localnet_transfer={transfer} " in made.stdout


def test_localnet_gives_both_roles_its_transfer():
    for role in ("mpc_node", "backup_agent"):
        text = (CHECKOUT / "inventory" / "localnet" / "group_vars" / f"{role}.yml").read_text(encoding="utf-8")
        assert f'{role}_transfer: "{{{{ localnet_transfer }}}}"' in text
