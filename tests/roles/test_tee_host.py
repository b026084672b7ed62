"""The TEE host's preflight: what is read from a machine, what is said of it, and that the operator's page explains it."""

import importlib.util
import json
import platform
import re
import subprocess
import sys
import tomllib

import jinja2
import pytest
import yaml

from tests.roles.readme import CHECKOUT, load

ROLE = CHECKOUT / "roles" / "tee_host"
MACHINES = CHECKOUT / "tests" / "roles" / "tee_machines"
PAGE = (CHECKOUT / "docs" / "tee-host.md").read_text(encoding="utf-8")


def plugin(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reading = plugin(ROLE / "library" / "tdx_facts.py")
judging = plugin(ROLE / "filter_plugins" / "tdx_findings.py")


def facts(machine, root):
    """What the module reads from a machine of `tee_machines`, laid out below `root`."""
    recorded = yaml.safe_load((MACHINES / f"{machine}.yml").read_text(encoding="utf-8"))
    files = recorded["files"] | {f"dev/{name}": "" for name in recorded["devices"]}
    files["proc/cpuinfo"] = "\n".join([files["proc/cpuinfo"]] * recorded["processors"])
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text), encoding="utf-8")
    return reading.read_machine(root, recorded["kernel_log"])


def findings(read, memory_gigabytes=64, processors=8):
    return judging.tdx_findings(read, memory_gigabytes, processors)


def states(found, state):
    return [finding["topic"] for finding in found if finding["state"] == state]


def test_everything_is_in_order_on_a_machine_with_tdx(tmp_path):
    read = facts("tdx_ready", tmp_path)
    assert {finding["state"] for finding in findings(read)} == {"ok"}
    assert {finding["cure"] for finding in findings(read)} == {""}
    assert (read["processors"], read["memory_mebibytes"]) == (32, 257655)
    assert read["kernel_says"][-1] == "virt/tdx: module initialized"


CHAIN = ["memory encryption", "TDX in the BIOS", "TDX in KVM", "TDX module"]


@pytest.mark.parametrize(
    ("machine", "faults", "follow"),
    [
        ("tdx_off_in_bios", ["TDX in the BIOS"], CHAIN[2:]),
        ("memory_encryption_off", ["memory encryption", "SGX"], CHAIN[1:]),
        ("kvm_without_tdx", ["TDX in KVM"], CHAIN[3:]),
        ("old_kernel", ["operating system"], ["kernel", *CHAIN, "guest sockets"]),
        ("generic_kernel", ["kernel"], [*CHAIN, "guest sockets"]),
        ("no_sgx", ["SGX"], []),
        ("amd", ["processor"], ["bare metal", *CHAIN, "SGX"]),
        (
            "vm",
            ["bare metal", "operating system", "memory", "processors"],
            ["kernel", *CHAIN, "SGX", "guest sockets"],
        ),
    ],
)
def test_the_faults_of_a_machine_are_named_apart_from_what_follows_from_them(machine, faults, follow, tmp_path):
    found = findings(facts(machine, tmp_path))
    assert states(found, "fault") == faults
    assert states(found, "follows") == follow


def test_there_is_a_test_machine_for_every_fault_but_those_of_size_and_sockets(tmp_path):
    seen = set()
    for path in sorted(MACHINES.glob("*.yml")):
        seen |= set(states(findings(facts(path.stem, tmp_path / path.stem)), "fault"))
    assert {check.topic for check in judging.CHECKS} - seen == {"TDX module", "guest sockets"}


@pytest.mark.parametrize(
    ("spoiled", "fault"),
    [
        (
            {"kernel_says": ["x86/tme: enabled by BIOS", "virt/tdx: BIOS enabled: private KeyID range [64, 128)"]},
            "TDX module",
        ),
        ({"devices": ["kvm", "sgx_enclave", "sgx_provision"]}, "guest sockets"),
        ({"devices": ["kvm", "sgx_enclave", "vhost-vsock"]}, "SGX"),
        ({"memory_mebibytes": 64 * 1024}, "memory"),
        ({"processors": 7}, "processors"),
        ({"kernel": "6.7.9-1001-intel"}, "kernel"),
        ({"kernel": ""}, "kernel"),
        ({"system": "ubuntu 24.10"}, "operating system"),
        ({"vendor": ""}, "processor"),
    ],
)
def test_one_thing_out_of_order_is_one_fault_with_its_cure(spoiled, fault, tmp_path):
    found = findings(facts("tdx_ready", tmp_path) | spoiled)
    assert states(found, "fault") == [fault]
    cures = {finding["topic"]: finding["cure"] for finding in found if finding["state"] != "ok"}
    assert len(cures[fault]) > 20
    assert all(cure.startswith("first cure: ") for topic, cure in cures.items() if topic != fault)


def test_a_machine_of_which_nothing_can_be_read_is_refused_without_an_error(tmp_path):
    found = findings(reading.read_machine(tmp_path, ""))
    assert {"processor", "operating system", "memory", "processors"} <= set(states(found, "fault"))
    assert states(found, "ok") == []


def test_the_report_says_the_firmware_first_and_a_cure_for_all_that_is_not_in_order(tmp_path):
    read = facts("tdx_off_in_bios", tmp_path)
    lines = judging.tdx_report(findings(read), read)
    assert lines[0] == "firmware: American Megatrends International, LLC. 2.6 11/28/2024"
    assert "ok      processor: INTEL(R) XEON(R) GOLD 6526Y" in lines
    assert [line for line in lines[1:] if line.startswith("ok") == (" -> " in line)] == []
    assert any(line.startswith("fault   TDX in the BIOS: ") and "key split" in line for line in lines)
    assert judging.tdx_report([], reading.read_machine(tmp_path / "nothing", "")) == ["firmware: unknown"]


def test_the_module_reads_this_machine_and_changes_nothing():
    done = subprocess.run(
        [sys.executable, str(ROLE / "library" / "tdx_facts.py")],
        input=json.dumps({"ANSIBLE_MODULE_ARGS": {"_ansible_check_mode": True}}),
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    answer = json.loads(done.stdout)
    assert answer["changed"] is False
    assert answer["machine"]["kernel"] == platform.release()
    assert len(findings(answer["machine"])) == len(judging.CHECKS)


def test_the_operators_page_explains_every_line_of_the_report():
    explained = re.findall(r"^### (.+)$", PAGE, re.MULTILINE)
    assert explained == [check.topic for check in judging.CHECKS]


def test_the_operators_page_names_every_task_file_that_is_untested():
    files = {path.stem for path in (ROLE / "tasks").glob("hardware_*.yml")}
    assert files == set(re.findall(r"`(hardware_[a-z]+)`", PAGE))
    readme = (ROLE / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in files)
    assert "untested here" in PAGE.lower()
    assert "untested" in readme


def test_what_needs_the_hardware_carries_its_tag_and_nothing_else_does():
    tasks = load("tee_host", "tasks/mode_tdx.yml")
    tagged = {task["ansible.builtin.import_tasks"]: "tdx_hardware" in task.get("tags", []) for task in tasks}
    assert {name: name.startswith("hardware_") for name in tagged} == tagged
    assert {name.removesuffix(".yml") for name, hardware in tagged.items() if hardware} == {
        path.stem for path in (ROLE / "tasks").glob("hardware_*.yml")
    }


def rendered(template, **changed):
    environment = jinja2.Environment(trim_blocks=True, undefined=jinja2.StrictUndefined, autoescape=False)
    environment.filters["to_json"] = json.dumps
    made = {
        "ansible_managed": "made",
        "__tee_host_images": "/i",
        "__tee_host_vmm": "/v",
        "__tee_host_socket": "/run/v.sock",
        "__tee_host_qemu_packages": ["q"],
    }
    values = load("tee_host", "defaults/main.yml") | made | changed
    return environment.from_string((ROLE / "templates" / template).read_text(encoding="utf-8")).render(values)


def test_the_vmm_serves_a_socket_of_its_own_and_has_the_limits_that_were_set():
    read = tomllib.loads(rendered("vmm.toml.j2", tee_host_memory_gigabytes=128, tee_host_guest_ports=[80, 24567]))
    assert (read["address"], "port" in read, "auth" in read) == ("unix:/run/v.sock", False, False)
    assert (read["cvm"]["max_allocable_memory_in_mb"], read["cvm"]["max_allocable_vcpu"]) == (131072, 8)
    assert [(r["protocol"], r["from"], r["to"]) for r in read["cvm"]["port_mapping"]["range"]] == [
        ("tcp", 80, 24567),
        ("udp", 80, 24567),
    ]


def test_quote_generation_asks_the_pccs_that_was_named():
    lines = rendered("sgx_default_qcnl.conf.j2", tee_host_pccs_url="https://pccs.test/v4/").splitlines()
    read = json.loads("\n".join(line for line in lines if not line.startswith("//")))
    assert (read["pccs_url"], read["use_secure_cert"]) == ("https://pccs.test/v4/", False)
