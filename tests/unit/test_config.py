import pytest

from sharekeeper.config import NetAddress, Transfer, load_backup_service, load_node_agent
from sharekeeper.errors import ConfigInvalid
from sharekeeper.protocol.policy import HandOutPolicy
from sharekeeper.spec import MAINNET_GENESIS_HASH, NODE_AGENT_PORT, OLD_KEYSET_GRACE_SECONDS, TESTNET_GENESIS_HASH

from .vault_values import OPERATOR_IDENTITY, RECIPIENTS

NEAR = """
account_id = "alice.test.near"
keys_dir = "keys"
unsafe_no_attestation = true
[near]
rpc_url = "http://127.90.0.10:3030"
chain_id = "devnet"
contract_id = "mpc.test.near"
"""
BACKUP_SERVICE = """
[backup_service]
vault_dir = "vault"
state_dir = "/var/lib/state"
operator_recipient = "RECIPIENT"
policy = "automatic"
node_agent_port = 8079
old_keyset_grace_seconds = 2
health_address = "127.0.0.1:9311"
""".replace("RECIPIENT", RECIPIENTS[1])
NODE_AGENT = """
[node_agent]
url = "http://127.90.0.11:8090"
listen = "127.90.0.11:8079"
keyshares_dir = "../mpc/keyshares"
state_dir = "state"
health_address = "[::1]:9312"
[node_agent.supervisor]
start = ["mpc", "start"]
stop = ["mpc", "stop"]
"""


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch):
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def mistakes(load, tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load(path)
    return str(caught.value)


def write(tmp_path, text):
    path = tmp_path / "config.toml"
    path.write_text(text)
    return path


def test_a_backup_service_configuration_is_read_with_paths_relative_to_the_file(tmp_path):
    config = load_backup_service(write(tmp_path, NEAR + BACKUP_SERVICE))
    assert config.account_id == "alice.test.near"
    assert config.keys_dir == tmp_path / "keys"
    assert config.vault_dir == tmp_path / "vault"
    assert str(config.state_dir) == "/var/lib/state"
    assert config.policy is HandOutPolicy.AUTOMATIC
    assert config.near.genesis_hash is None
    assert config.health_address == NetAddress(host="127.0.0.1", port=9311)
    assert config.old_keyset_grace_seconds == 2.0


def test_the_defaults_are_the_careful_ones(tmp_path):
    text = NEAR + "\n".join(
        line for line in BACKUP_SERVICE.splitlines() if not line.startswith(("policy", "node_agent_port", "old_"))
    )
    config = load_backup_service(write(tmp_path, text))
    assert config.policy is HandOutPolicy.APPROVE
    assert config.node_agent_port == NODE_AGENT_PORT
    assert config.old_keyset_grace_seconds == OLD_KEYSET_GRACE_SECONDS


def test_a_node_agent_configuration_is_read(tmp_path):
    config = load_node_agent(write(tmp_path, NEAR + NODE_AGENT))
    assert config.listen == NetAddress(host="127.90.0.11", port=8079)
    assert config.health_address == NetAddress(host="::1", port=9312)
    assert config.supervisor.start == ("mpc", "start")
    assert config.supervisor.directory == tmp_path
    assert config.url == "http://127.90.0.11:8090"


def test_systemd_s_credentials_directory_wins_over_keys_dir(tmp_path, monkeypatch):
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/unit")
    assert str(load_node_agent(write(tmp_path, NEAR + NODE_AGENT)).keys_dir) == "/run/credentials/unit"
    without = (NEAR + NODE_AGENT).replace('keys_dir = "keys"\n', "")
    assert str(load_node_agent(write(tmp_path, without)).keys_dir) == "/run/credentials/unit"


def test_every_mistake_is_named_in_one_message(tmp_path):
    text = (NEAR + BACKUP_SERVICE).replace("alice.test.near", "Alice").replace("8079", '"x"')
    text = text.replace("vault_dir", "vault_dri").replace("http://127.90.0.10", "ftp://127.90.0.10")
    message = mistakes(load_backup_service, tmp_path, text)
    assert "5 mistake(s)" in message
    assert "account_id: not a NEAR account id: 'Alice'" in message
    assert "near.rpc_url: must be a url" in message
    assert "backup_service.vault_dir: is missing" in message
    assert "backup_service.vault_dri: is unknown; did you mean 'vault_dir'?" in message
    assert "backup_service.node_agent_port: must be a port" in message


def test_an_empty_file_names_all_that_is_missing(tmp_path):
    message = mistakes(load_node_agent, tmp_path, "")
    for name in ("account_id", "keys_dir", "near.rpc_url", "node_agent.url", "node_agent.supervisor.start"):
        assert f"{name}: is missing" in message


@pytest.mark.parametrize("said", ["", "unsafe_no_attestation = false\n"])
@pytest.mark.parametrize(
    ("load", "daemon"), [(load_backup_service, BACKUP_SERVICE), (load_node_agent, NODE_AGENT)], ids=["service", "node"]
)
def test_the_soft_launch_is_refused_until_its_danger_is_said(tmp_path, load, daemon, said):
    message = mistakes(load, tmp_path, (NEAR + daemon).replace("unsafe_no_attestation = true\n", said))
    assert "1 mistake(s)" in message
    assert "unsafe_no_attestation: must be true: in soft launch no machine proves" in message
    assert "write unsafe_no_attestation = true before the first table" in message


def test_names_unlike_any_other_are_told_to_go(tmp_path):
    assert "zzz: is unknown; remove it" in mistakes(load_node_agent, tmp_path, "zzz = 1\n" + NEAR + NODE_AGENT)


def test_the_other_daemon_s_table_is_not_wanted_here(tmp_path):
    assert "backup_service: is unknown" in mistakes(load_node_agent, tmp_path, NEAR + NODE_AGENT + BACKUP_SERVICE)


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('policy = "automatic"', 'policy = "always"', "policy: must be one of approve, automatic"),
        ('policy = "automatic"', "policy = 3", "policy: must be one of"),
        ('policy = "automatic"', 'policy = "attested"', 'policy: "attested" is for the hard launch'),
        (RECIPIENTS[1], OPERATOR_IDENTITY, "operator_recipient: must be an age recipient"),
        (RECIPIENTS[1], RECIPIENTS[1][:-1] + "q", "operator_recipient: must be an age recipient"),
        ("= 2\n", "= -1\n", "old_keyset_grace_seconds: must be a number"),
        ("= 2\n", "= inf\n", "old_keyset_grace_seconds: must be a number"),
        ("= 2\n", "= true\n", "old_keyset_grace_seconds: must be a number"),
        ("127.0.0.1:9311", "0.0.0.0:9311", "health_address: must be an address of this machine's loopback"),
        ("127.0.0.1:9311", "example.org:9311", "health_address: must be an address of this machine's loopback"),
        ("127.0.0.1:9311", "127.0.0.1", "health_address: must be an address like"),
        ("127.0.0.1:9311", "127.0.0.1:70000", "health_address: must be an address like"),
        ('"vault"', "7", "vault_dir: must be a text"),
        ('"vault"', '"/var/lib"', "state_dir: must lie outside vault_dir"),
        ('"vault"', '"/var/lib/state"', "state_dir: must lie outside vault_dir"),
        (":3030", ":70000", "near.rpc_url: must be a url"),
        (":3030", ":port", "near.rpc_url: must be a url"),
        ("127.90.0.10", "[::1", "near.rpc_url: must be a url"),
        ('"devnet"', '""', "chain_id: must be a text"),
    ],
)
def test_each_wrong_value_has_its_sentence(tmp_path, old, new, sentence):
    message = mistakes(load_backup_service, tmp_path, (NEAR + BACKUP_SERVICE).replace(old, new))
    assert sentence in message
    assert OPERATOR_IDENTITY not in message


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('["mpc", "start"]', '"mpc start"', "supervisor.start: must be a list of words"),
        ('["mpc", "start"]', "[]", "supervisor.start: must be a list of words"),
        ('["mpc", "start"]', '["mpc", 1]', "supervisor.start: must be a list of words"),
        ("http://127.90.0.11:8090", "http://" + "x" * 256, "url: must have at most 256 bytes"),
        ("http://127.90.0.11:8090", "http://", "url: must be a url"),
        ("http://127.90.0.11:8090", "http://127.90.0.11:port", "url: must be a url"),
        ("[node_agent.supervisor]\n", "[node_agent.supervizor]\n", "node_agent.supervisor: is missing"),
    ],
)
def test_each_wrong_value_of_the_node_agent_has_its_sentence(tmp_path, old, new, sentence):
    assert sentence in mistakes(load_node_agent, tmp_path, (NEAR + NODE_AGENT).replace(old, new))


def test_a_value_where_a_table_belongs_is_a_mistake(tmp_path):
    text = 'account_id = "alice.test.near"\nkeys_dir = "keys"\nnear = 3\n' + BACKUP_SERVICE
    assert "near: must be a table: write [near]" in mistakes(load_backup_service, tmp_path, text)


@pytest.mark.parametrize(("chain", "genesis"), [("mainnet", MAINNET_GENESIS_HASH), ("testnet", TESTNET_GENESIS_HASH)])
def test_public_networks_need_their_genesis_hash_and_refuse_the_automatic_policy(tmp_path, chain, genesis):
    text = (NEAR + BACKUP_SERVICE).replace('"devnet"', f'"{chain}"')
    message = mistakes(load_backup_service, tmp_path, text)
    assert f"near.genesis_hash: {chain} has genesis hash {genesis}" in message
    assert f'policy: "automatic" is refused on {chain}' in message
    good = text.replace(f'"{chain}"', f'"{chain}"\ngenesis_hash = "{genesis}"\nsingle_endpoint = true')
    good = good.replace("automatic", "approve")
    assert load_backup_service(write(tmp_path, good)).near.genesis_hash == genesis


def test_a_renamed_public_network_refuses_the_automatic_policy_too(tmp_path):
    text = (NEAR + BACKUP_SERVICE).replace('"devnet"', f'"private"\ngenesis_hash = "{MAINNET_GENESIS_HASH}"')
    assert '"automatic" is refused' in mistakes(load_backup_service, tmp_path, text)


@pytest.mark.parametrize("content", [b"a = ", b"\xff\xfe", b"a = 1\na = 2\n"])
def test_a_file_that_is_not_toml_says_so(tmp_path, content):
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid, match="is not TOML"):
        load_backup_service(path)


def test_a_file_that_is_not_there_says_so(tmp_path):
    with pytest.raises(ConfigInvalid, match="cannot be read: No such file"):
        load_backup_service(tmp_path / "none.toml")


# --- the transfer -------------------------------------------------------------------------------


WEB_NODE = NODE_AGENT.replace('listen = "127.90.0.11:8079"', 'transfer = "web"\nweb_listen = "127.90.0.11:8080"')


def test_version_1_is_spoken_unless_the_configuration_says_web(tmp_path):
    assert load_backup_service(write(tmp_path, NEAR + BACKUP_SERVICE)).transfer is Transfer.P2P
    assert load_node_agent(write(tmp_path, NEAR + NODE_AGENT)).transfer is Transfer.P2P


def test_version_2_has_its_own_address_and_port(tmp_path):
    node = load_node_agent(write(tmp_path, NEAR + WEB_NODE))
    assert (node.transfer, node.listen) == (Transfer.WEB, NetAddress(host="127.90.0.11", port=8080))
    service = load_backup_service(write(tmp_path, NEAR + BACKUP_SERVICE + 'transfer = "web"\nnode_web_port = 9000\n'))
    assert (service.transfer, service.node_web_port, service.node_web_url) == (Transfer.WEB, 9000, None)


def test_a_backup_service_takes_slot_0_unless_the_configuration_says_1(tmp_path):
    assert load_backup_service(write(tmp_path, NEAR + BACKUP_SERVICE)).slot == 0
    assert load_backup_service(write(tmp_path, NEAR + BACKUP_SERVICE + "slot = 1\n")).slot == 1


@pytest.mark.parametrize("slot", ["2", "-1", "true", '"1"', "1.0"])
def test_an_account_has_two_slots_and_no_others(tmp_path, slot):
    with pytest.raises(ConfigInvalid, match=r"backup_service\.slot: must be 0 or 1"):
        load_backup_service(write(tmp_path, NEAR + BACKUP_SERVICE + f"slot = {slot}\n"))


def test_both_addresses_may_be_written_and_the_transfer_chooses(tmp_path):
    both = WEB_NODE.replace("transfer", 'listen = "127.90.0.11:8079"\ntransfer')
    assert load_node_agent(write(tmp_path, NEAR + both)).listen.port == 8080
    assert load_node_agent(write(tmp_path, NEAR + both.replace('"web"', '"p2p"'))).listen.port == 8079


@pytest.mark.parametrize(
    ("change", "mistake"),
    [
        (('transfer = "web"', ""), "node_agent.listen: is missing"),
        (('web_listen = "127.90.0.11:8080"', ""), "node_agent.web_listen: is missing"),
        (('"web"', '"tls"'), "node_agent.transfer: must be one of p2p, web"),
        (("web_listen", "weblisten"), "did you mean 'web_listen'?"),
    ],
)
def test_a_node_agent_without_the_address_of_its_transfer_does_not_start(tmp_path, change, mistake):
    assert mistake in mistakes(load_node_agent, tmp_path, NEAR + WEB_NODE.replace(*change))


@pytest.mark.parametrize(
    "url", ["https://node.example/mpc", "https://node.example?x=1", "https://me@node.example", "node.example:80"]
)
def test_the_url_of_the_nodes_endpoints_is_scheme_host_and_port_alone(tmp_path, url):
    told = mistakes(load_backup_service, tmp_path, NEAR + BACKUP_SERVICE + f'node_web_url = "{url}"\n')
    assert "backup_service.node_web_url: must be" in told


def test_a_url_of_the_nodes_endpoints_loses_its_last_slash(tmp_path):
    text = NEAR + BACKUP_SERVICE + 'node_web_url = "https://node.example:8443/"\n'
    assert load_backup_service(write(tmp_path, text)).node_web_url == "https://node.example:8443"


# --- the endpoints ------------------------------------------------------------------------------


def with_endpoints(*urls, more="", text=NEAR + BACKUP_SERVICE):
    found = "".join(f'[[near.endpoints]]\nname = "e{number}"\nurl = "{url}"\n' for number, url in enumerate(urls))
    return text.replace('contract_id = "mpc.test.near"\n', f'contract_id = "mpc.test.near"\n{more}\n{found}')


PUBLIC = (
    (NEAR + BACKUP_SERVICE)
    .replace('"devnet"', f'"mainnet"\ngenesis_hash = "{MAINNET_GENESIS_HASH}"')
    .replace("automatic", "approve")
)


@pytest.mark.parametrize(("others", "quorum"), [(0, 1), (1, 2), (2, 2), (3, 3), (4, 3)])
def test_a_quorum_is_the_majority_of_all_endpoints_unless_the_configuration_says_more(tmp_path, others, quorum):
    urls = [f"https://rpc{number}.example" for number in range(others)]
    near = load_backup_service(write(tmp_path, with_endpoints(*urls))).near
    assert [endpoint.url for endpoint in near.endpoints] == urls
    assert near.quorum == quorum
    text = with_endpoints(*urls, more=f"quorum = {others + 1}")
    assert load_backup_service(write(tmp_path, text)).near.quorum == others + 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (with_endpoints("https://a.example", more="quorum = 1"), "near.quorum: must be 2..2 of 2 endpoints"),
        (with_endpoints("https://a.example", more="quorum = 3"), "near.quorum: must be 2..2 of 2 endpoints"),
        (with_endpoints("https://a.example", more='quorum = "2"'), "near.quorum: must be a whole number"),
        (with_endpoints("https://a.example", more="quorum = true"), "near.quorum: must be a whole number"),
        (with_endpoints(more="quorum = 2"), "near.quorum: must be 1..1 of 1 endpoints"),
        (with_endpoints("https://a.example", "https://a.example:443/key"), "near.endpoints[2].url: has the host and"),
        (with_endpoints("http://127.90.0.10:3030/x"), "near.endpoints[1].url: has the host and port of another"),
        (with_endpoints("ftp://a.example"), "near.endpoints[1].url: must be a url"),
        (with_endpoints("https://a.example").replace('"e0"', '"own"'), "near.endpoints[1].name: 'own' is taken"),
        (with_endpoints("https://a.example", "https://b.example").replace('"e1"', '"e0"'), "name: 'e0' is taken"),
        (with_endpoints("https://a.example").replace('"e0"', '"A B"'), "near.endpoints[1].name: must be 1 to 32"),
        (with_endpoints("https://a.example").replace("url", "ulr"), "near.endpoints[1].ulr: is unknown"),
        (with_endpoints(more="endpoints = 3"), "near.endpoints: must be tables: write [[near.endpoints]]"),
        (with_endpoints("https://a.example", more="single_endpoint = true"), "near.single_endpoint: contradicts"),
        (with_endpoints(more="single_endpoint = 1"), "near.single_endpoint: must be true or false"),
        (PUBLIC, "near.endpoints: are missing: mainnet needs NEAR endpoints of others"),
        (with_endpoints("http://rpc.example", text=PUBLIC), "near.endpoints[1].url: must be https on mainnet"),
    ],
)
def test_endpoints_that_could_not_outvote_a_liar_are_refused(tmp_path, text, sentence):
    assert sentence in mistakes(load_backup_service, tmp_path, text)


def test_on_a_public_network_endpoints_are_https_or_private(tmp_path):
    text = with_endpoints("https://rpc.example", "http://10.0.0.5:3030", text=PUBLIC)
    assert load_backup_service(write(tmp_path, text)).near.quorum == 2


def test_one_endpoint_alone_on_a_public_network_is_chosen_in_so_many_words(tmp_path):
    text = with_endpoints(more="single_endpoint = true", text=PUBLIC)
    assert load_backup_service(write(tmp_path, text)).near.quorum == 1


def test_the_node_agent_works_from_its_own_node_and_takes_no_endpoints(tmp_path):
    text = with_endpoints("https://a.example", text=NEAR + NODE_AGENT)
    assert "near.endpoints: is unknown" in mistakes(load_node_agent, tmp_path, text)
