"""The runbooks are done here as written: a command that is wrong, or shows something else, fails its test."""

import inspect
import json
import re
import shutil
import stat
from pathlib import Path

import pytest

from sharekeeper import errors
from sharekeeper.domain.protocol_state import Recovery, Running
from sharekeeper.keys import public_keys
from sharekeeper.protocol.codec import encode_shares
from sharekeeper.spec import BACKUP_SERVICE_METHODS, NODE_METHODS

from .runbooks import DIRECTORY, EXECUTED, Operator, Units, blocks, check_syntax, fits
from .world import CHAIN_ID, CONTRACT, approve, world

RECOVER, OPEN, ROTATE, ACCESS = (EXECUTED[name] for name in ("RECOVER", "OPEN", "ROTATE", "ACCESS"))
AGENT, SERVICE = "sharekeeper-node-agent", "sharekeeper-backup-service"
KINDS = {"sh", "sh host", "sh variables"}
CLASSES = [
    found for found in vars(errors).values() if inspect.isclass(found) and issubclass(found, errors.SharekeeperError)
]


@pytest.fixture
async def units():
    running = Units()
    yield running
    await running.close()


class Here:
    """Alice's machines, the files her operator uses, and what he does about units."""

    def __init__(self, net, units, directory):
        self.net, self.units, self.alice = net, units, net["alice"]
        self.directory = directory / "operator"
        self.directory.mkdir()
        self.agent_config = self.alice.node("new").config_path
        self.backup_config = self.alice.service.config_path

    async def operator(self, **facts):
        """Alice's operator; `facts` come on top of those that every runbook may ask for."""
        head = await self.net.rpc.network()
        key_file = self.directory / "alice.near.json"
        secret = self.alice.owner.text().reveal().decode()
        key_file.write_text(json.dumps({"account_id": self.alice.account_id, "private_key": secret}))
        key_file.chmod(0o600)
        old = self.alice.node("old")
        known = {
            "ACCOUNT": self.alice.account_id,
            "CONTRACT": CONTRACT,
            "RPC_URL": self.net.chain.rpc_url,
            "CHAIN_ID": CHAIN_ID,
            "GENESIS_HASH": head.genesis_hash,
            "NODE_HOME": self.agent_config.parent,
            "AGENT_CONFIG": self.agent_config,
            "BACKUP_CONFIG": self.backup_config,
            "KEY_FILE": key_file,
            "NEW_TLS_KEY": lambda: self.new_keys().tls_public_key,
            "NEW_ACCOUNT_KEY": lambda: self.new_keys().account_public_key,
            "NEW_URL": self.alice.url("new"),
            "OLD_ACCOUNT_KEY": old.keys.account.signer_key,
            "OLD_AGENT_CONFIG": old.config_path,
            "WAITING": self.alice.account_id,
            "VAULT": self.backup_config.parent / "vault",
        }
        return Operator(self.directory, known | facts, supervise=self.supervise)

    def new_keys(self):
        named = re.search(r'^keys_dir = "(.*)"', self.agent_config.read_text(), re.MULTILINE)[1]
        return public_keys(self.agent_config.parent / named)

    async def supervise(self, verb, unit):
        if verb == "start":
            await self.units.start(unit, self.agent_config if unit == AGENT else self.backup_config)
        elif not await self.units.stop(unit):
            assert (verb, unit) == ("stop", SERVICE)
            await self.alice.service.stop()

    async def has_access_key(self, key):
        return await self.net.rpc.access_key(self.alice.account_id, key, await self.net.rpc.head()) is not None

    def without_new_keys(self):
        """The replacement machine has its configuration and no keys yet."""
        shutil.rmtree(self.agent_config.parent / "keys")


# --- recover a node ---------------------------------------------------------------------------


async def test_a_node_is_recovered_by_the_runbook_and_its_living_predecessor_is_fenced(tmp_path, units):
    async with world(tmp_path, policy="approve") as net:
        await net.with_backup("alice")
        here = Here(net, units, tmp_path)
        here.without_new_keys()
        operator = await here.operator()
        before = blocks(RECOVER, "Variables") + blocks(RECOVER, "Steps")
        await operator.follow(before)
        assert isinstance(await net.state(), Running)
        assert await net.names("alice", "new")
        assert await net["alice"].store("new").read(net.keyset) == net.shares("alice")
        assert not await here.has_access_key(net["alice"].node("old").keys.account.signer_key)
        assert net["alice"].node_runs("new")
        await operator.follow(blocks(RECOVER, "The old machine is still alive"), until="disable --now")
        assert not net["alice"].node_runs("old")


async def test_a_refused_hand_out_is_cancelled_and_the_recovery_begun_again(tmp_path, units):
    config = {"recovery_timeout_blocks": 5000, "recovery_cooldown_blocks": 50_000}
    async with world(tmp_path, policy="approve", config=config) as net:
        await net.with_backup("alice")
        here = Here(net, units, tmp_path)
        operator, steps = await here.operator(RECOVERY_ID=1), blocks(RECOVER, "Steps")
        await operator.follow([block for block in blocks(RECOVER, "Variables") + steps if block.kind == "sh variables"])
        await net.grant("alice", net["alice"].node("new"))
        await here.supervise("start", AGENT)
        refused = await net.until_state(Recovery)
        assert refused.recovery_id == 1
        await net.until_status(net["alice"].service, lambda status: "policy_refused" in str(status["faults"]))
        retired = here.new_keys()
        await operator.follow(blocks(RECOVER, "The hand-out is refused"))
        assert here.new_keys() != retired
        assert (await net.record("alice")).node_candidate is None
        assert not await here.has_access_key(retired.account_public_key)
        first = next(number for number, block in enumerate(steps) if "approve" in block.text)
        start = next(number for number, block in enumerate(steps) if "systemctl start" in block.text)
        await operator.follow(steps[first : start + 1])
        assert (await net.record("alice")).cooldown_until > (await net.rpc.head()).height + 1000
        await net.caller(net["bob"].account_id, net["bob"].owner).call(
            "waive_recovery_cooldown", {"account_id": net["alice"].account_id}
        )
        await operator.follow(blocks(RECOVER, "The account must wait"))
        assert (await net.record("alice")).cooldown_until == 0
        await operator.follow(steps[start + 1 :])
        running = await net.state()
        participant = running.participants.find(net["alice"].account_id)
        assert participant.info.tls_public_key == here.new_keys().tls_public_key


async def test_a_missing_backup_is_brought_back_from_a_copy_and_the_recovery_under_way_is_served(tmp_path, units):
    async with world(tmp_path, policy="approve") as net:
        await net.with_backup("alice")
        here, alice = Here(net, units, tmp_path), net["alice"]
        vault, replica = here.backup_config.parent / "vault", tmp_path / "replica"
        shutil.copytree(vault, replica)
        for lost in (alice.service, alice.node("old")):
            await lost.stop()
        [entry] = (vault / "keysets").iterdir()
        shutil.rmtree(entry)
        await approve(net, "alice")
        await here.supervise("start", SERVICE)
        await net.replace("alice")
        await net.until_status(alice.service, lambda status: "no_backup" in str(status["faults"]))
        operator = await here.operator(REPLICA=replica)
        await operator.follow(blocks(RECOVER, "Variables") + blocks(RECOVER, "The backup is missing"))
        await net.until_healthy(alice.node("new"))
        assert await alice.store("new").read(net.keyset) == net.shares("alice")


# --- open a backup by hand --------------------------------------------------------------------


@pytest.mark.needs("age")
async def test_a_backup_is_opened_by_hand_with_stock_age(tmp_path, units):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        here = Here(net, units, tmp_path)
        medium, opened, key = tmp_path / "medium", tmp_path / "opened", tmp_path / "operator.key"
        medium.mkdir()
        key.write_text(f"{net['alice'].offline}\n")
        key.chmod(0o600)
        [entry] = (here.backup_config.parent / "vault" / "keysets").iterdir()
        manifest = json.loads((entry / "manifest.json").read_text())["body"]
        operator = await here.operator(
            MEDIUM=medium, OPEN=opened, KEY=key, ENTRY=entry.name, SHA256=manifest["ciphertext_sha256"]
        )
        found = blocks(OPEN)
        await operator.follow(found, until='rm -r "$OPEN"')
        shares = encode_shares(net.shares("alice"))
        assert json.loads((opened / "backup.json").read_text())["shares"] == shares
        export = json.loads((opened / "import.json").read_text())
        assert export == {"epoch_id": net.keyset.epoch_id, "keyshares": shares}
        assert {stat.S_IMODE(path.stat().st_mode) for path in opened.iterdir()} == {0o600}
        await operator.follow(found[-2:])
        assert not opened.exists()


# --- rotate keys --------------------------------------------------------------------------------


@pytest.mark.needs("age")
async def test_the_offline_key_is_rotated_and_the_new_one_opens_the_backup(tmp_path, units):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        here = Here(net, units, tmp_path)
        key = tmp_path / "operator-2.key"

        def recipient():
            return re.search(r"public key: (age1\w+)", key.read_text())[1]

        operator = await here.operator(NEW_KEY=key, NEW_RECIPIENT=recipient)
        await operator.follow(blocks(ROTATE, "The operator's offline key"))
        [sealed] = (here.backup_config.parent / "vault" / "keysets").glob("*/shares.age")
        opened = ["age", "--decrypt", "-i", str(key), str(sealed)]
        status, output = await operator._bash(" ".join(opened))
        assert status == 0
        assert json.loads(output)["shares"] == encode_shares(net.shares("alice"))


class Rotation(Here):
    """The backup service's new home stands beside the old one; the node that runs is the old machine."""

    def __init__(self, net, units, directory):
        super().__init__(net, units, directory)
        self.agent_config = self.alice.node("old").config_path
        self.old_home, self.new_home = self.backup_config.parent, directory / "alice" / "backup-2"
        self.backup_config = self.new_home / "backup.toml"
        (self.old_home / "config.toml").rename(self.old_home / "backup.toml")

    async def operator(self, **facts):
        homes = {"OLD_HOME": self.old_home, "NEW_HOME": self.new_home}
        return await super().operator(
            **homes,
            OLD_ACCOUNT_KEY=public_keys(self.old_home / "keys").account_public_key,
            NEW_ACCOUNT_KEY=lambda: public_keys(self.new_home / "keys").account_public_key,
            **facts,
        )


async def test_the_backup_services_keys_are_rotated(tmp_path, units):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        here = Rotation(net, units, tmp_path)
        old = public_keys(here.old_home / "keys")
        await (await here.operator()).follow(blocks(ROTATE, "The backup service's keys"))
        new = public_keys(here.new_home / "keys")
        assert (await net.record("alice")).backup_services[0].tls_public_key == new.tls_public_key
        assert not await here.has_access_key(old.account_public_key)
        assert not here.old_home.exists()


async def test_a_node_lost_during_the_rotation_is_recovered_from_the_old_vault(tmp_path, units):
    async with world(tmp_path) as net:
        await net.with_backup("alice")
        here = Rotation(net, units, tmp_path)
        operator = await here.operator()
        rotation = blocks(ROTATE, "The backup service's keys")
        start = next(number for number, block in enumerate(rotation) if "systemctl start" in block.text)
        await operator.follow(rotation[:start])
        await net["alice"].node("old").stop()
        await operator.follow([rotation[start]])

        async def registered():
            service = (await net.record("alice")).backup_services[0]
            return service.tls_public_key == public_keys(here.new_home / "keys").tls_public_key

        await net.until(registered, what="the new service is registered")
        await operator.follow(blocks(ROTATE, "The node was lost meanwhile"))
        await net.replace("alice")
        await net.until_healthy(net["alice"].node("new"))
        assert await net["alice"].store("new").read(net.keyset) == net.shares("alice")


# --- access keys --------------------------------------------------------------------------------


async def test_a_machines_key_is_added_checked_and_deleted_and_a_vote_given(tmp_path, units):
    async with world(tmp_path) as net:
        here, home = Here(net, units, tmp_path), tmp_path / "alice" / "backup-2"
        home.mkdir(parents=True)

        def added():
            return public_keys(home / "keys").account_public_key

        operator = await here.operator(NEW_HOME=home, NEW_ACCOUNT_KEY=added, CODE_HASH="ab" * 32)
        await operator.follow(blocks(ACCESS, ""))
        await operator.follow(blocks(ACCESS, "Add a machine's key"))
        await operator.follow(blocks(ACCESS, "Check the keys"))
        await operator.follow(blocks(ACCESS, "Vote as the operator"))
        assert await here.has_access_key(added())
        votes = await net.rpc.view("code_hash_votes", {}, await net.rpc.head())
        assert votes["node"] == [{"code_hash": "ab" * 32, "allow": True, "voters": [net["alice"].account_id]}]
        await operator.follow(blocks(ACCESS, "Delete a machine's key"))
        assert not await here.has_access_key(added())


def test_the_page_of_access_keys_names_exactly_the_methods_that_are_granted():
    text = (DIRECTORY / ACCESS).read_text()
    for named, methods in (
        ("the node's account key", NODE_METHODS),
        ("backup service's account key", BACKUP_SERVICE_METHODS),
    ):
        row = next(line for line in text.splitlines() if line.startswith("| the ") and named in line)
        assert set(re.findall(r"`(\w+)`", row.split(" | ")[2])) == set(methods)
    [by_hand] = re.findall(r"--function-names '([^']+)'", text)
    assert set(by_hand.split(", ")) == set(BACKUP_SERVICE_METHODS)


# --- all of them ------------------------------------------------------------------------------


@pytest.mark.parametrize("runbook", EXECUTED.values())
def test_every_block_says_what_it_is_and_parses_and_every_command_what_to_expect(runbook):
    for block in blocks(runbook):
        assert block.kind in KINDS, block.where
        check_syntax(block)
        if block.kind == "sh":
            assert block.expected, f"{block.where} does not say what to expect"


@pytest.mark.parametrize("runbook", EXECUTED.values())
def test_every_variable_is_set_in_the_runbook_and_every_one_set_is_used(runbook):
    found = blocks(runbook)
    named = {name for block in found if block.kind == "sh variables" for name in block.variables}
    used = {name for block in found for name in re.findall(r"\$\{?([A-Z][A-Z0-9_]*)", block.text)}
    assert used == named


@pytest.mark.parametrize(("name", "runbook"), EXECUTED.items())
def test_every_executed_section_of_a_runbook_is_in_a_test(name, runbook):
    source = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))
    for section in {block.section for block in blocks(runbook) if block.kind == "sh"}:
        assert f'blocks({name}, "{section}")' in source or f"blocks({name})" in source, section


@pytest.mark.parametrize("page", sorted(DIRECTORY.glob("*.md")), ids=lambda page: page.name)
def test_every_link_of_a_runbook_leads_somewhere(page):
    for target in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        linked = (page.parent / path) if path else page
        assert linked.exists(), target
        if anchor:
            titles = re.findall(r"^#+ (.*)", linked.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}, target


def test_an_expectation_is_a_whole_line_or_nothing_at_all():
    assert fits("state Running", "network  x\nstate    Running\n")
    assert fits("... of ... entries are whole", "1 of 1 entries are whole\n")
    assert not fits("healthy", "not healthy\n")
    assert not fits("no output", "healthy\n")
    assert fits("no output", "")


def test_the_alarms_are_exactly_the_codes_of_the_errors():
    text = (DIRECTORY / "alarms.md").read_text()
    sections = re.findall(r"^### `(\w+)`\n\nStatus (\d+) · (alarm|passes)\. ", text, re.MULTILINE)
    assert len(re.findall(r"^### ", text, re.MULTILINE)) == len(sections)
    wanted = [(one.code, str(one.exit_status), "passes" if one.retryable else "alarm") for one in CLASSES]
    assert sorted(sections) == sorted(wanted)
