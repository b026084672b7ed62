# ruff: noqa: INP001  # it runs from a role's files
"""Judges what `tdx_facts` read: can this machine be a TEE host, and if not, what is to be done?"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

OK: Final = "ok"
FAULT: Final = "fault"
FOLLOWS: Final = "follows"  # cannot be in order before an earlier fault is cured

_SYSTEM: Final = "ubuntu 24.04"
_KERNEL: Final = (6, 8)
_FLAVOUR: Final = "-intel"
_MEBIBYTES: Final = 1024
_SGX_DEVICES: Final = ("sgx_enclave", "sgx_provision")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What was read from a machine; `memory_gigabytes` and `processors_wanted` are what its guests need."""

    facts: Mapping[str, Any]
    memory_gigabytes: int
    processors_wanted: int

    def says(self, words: str) -> bool:
        """Whether the kernel wrote these words into its log since the boot."""
        return any(words in line for line in self.facts["kernel_says"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that must be in order. `needs` are the topics without which it cannot be, `cure` what to do."""

    topic: str
    needs: tuple[str, ...] = ()
    look: Callable[[Machine], tuple[bool, str]]
    cure: str


def _processor(machine: Machine) -> tuple[bool, str]:
    facts = machine.facts
    return facts["vendor"] == "GenuineIntel", facts["model"] or "no processor that Linux on x86_64 describes"


def _bare_metal(machine: Machine) -> tuple[bool, str]:
    firmware = machine.facts["firmware"]
    named = f"{firmware['sys_vendor']} {firmware['product_name']}".strip() or "unnamed"
    guest = "hypervisor" in machine.facts["flags"]
    return not guest, f"{named}, {'a virtual machine' if guest else 'no hypervisor below'}"


def _operating_system(machine: Machine) -> tuple[bool, str]:
    return machine.facts["system"] == _SYSTEM, machine.facts["system"] or "unknown"


def _kernel(machine: Machine) -> tuple[bool, str]:
    release = machine.facts["kernel"]
    numbers = re.match(r"(\d+)\.(\d+)", release)
    recent = numbers is not None and (int(numbers[1]), int(numbers[2])) >= _KERNEL
    return recent and release.endswith(_FLAVOUR), release or "unknown"


def _memory_encryption(machine: Machine) -> tuple[bool, str]:
    if machine.says("tdx: module initialized") or machine.says("tme: enabled by BIOS"):
        return True, "on"
    return False, "off in the BIOS" if "tme" in machine.facts["flags"] else "the processor does not offer it"


def _tdx_in_bios(machine: Machine) -> tuple[bool, str]:
    enabled = machine.says("tdx: BIOS enabled")
    return enabled, "on" if enabled else "the kernel found no private key identifiers"


def _tdx_in_kvm(machine: Machine) -> tuple[bool, str]:
    said = machine.facts["kvm_tdx"]
    return said == "Y", f"kvm_intel.tdx is {said}" if said else "kvm_intel has no parameter tdx"


def _tdx_module(machine: Machine) -> tuple[bool, str]:
    initialized = machine.says("tdx: module initialized")
    return initialized, "initialized" if initialized else "not initialized"


def _sgx(machine: Machine) -> tuple[bool, str]:
    missing = [f"/dev/{name}" for name in _SGX_DEVICES if name not in machine.facts["devices"]]
    return not missing, f"no {' and no '.join(missing)}" if missing else "on"


def _sockets(machine: Machine) -> tuple[bool, str]:
    there = "vhost-vsock" in machine.facts["devices"]
    return there, "there" if there else "no /dev/vhost-vsock"


def _memory(machine: Machine) -> tuple[bool, str]:
    found = machine.facts["memory_mebibytes"]
    needed = machine.memory_gigabytes * _MEBIBYTES
    return found > needed, f"{found // _MEBIBYTES} GB, and guests take up to {machine.memory_gigabytes} GB"


def _processors(machine: Machine) -> tuple[bool, str]:
    found, wanted = machine.facts["processors"], machine.processors_wanted
    return found >= wanted, f"{found}, and guests take up to {wanted}"


_HARDWARE: Final = ("processor", "bare metal")
CHECKS: Final = (
    Check(
        topic="processor",
        look=_processor,
        cure="use a server with an Intel Xeon of the 5th generation or newer; AMD and ARM have no TDX",
    ),
    Check(
        topic="bare metal",
        needs=("processor",),
        look=_bare_metal,
        cure="use the whole server: a virtual machine cannot be a TEE host, even where it is a TDX guest itself",
    ),
    Check(topic="operating system", look=_operating_system, cure="install Ubuntu Server 24.04"),
    Check(
        topic="kernel",
        needs=("operating system",),
        look=_kernel,
        cure="install Canonical's TDX kernel (6.8 or newer, its release ends with -intel), and boot it",
    ),
    Check(
        topic="memory encryption",
        needs=(*_HARDWARE, "kernel"),
        look=_memory_encryption,
        cure="BIOS: switch Memory Encryption (TME) and Multi-Tenant (TME-MT) on",
    ),
    Check(
        topic="TDX in the BIOS",
        needs=(*_HARDWARE, "kernel", "memory encryption"),
        look=_tdx_in_bios,
        cure="BIOS: switch Trust Domain Extension (TDX) on and give the TME-MT/TDX key split a value above zero",
    ),
    Check(
        topic="TDX in KVM",
        needs=(*_HARDWARE, "kernel", "TDX in the BIOS"),
        look=_tdx_in_kvm,
        cure="add kvm_intel.tdx=1 nohibernate to the kernel's command line, and reboot",
    ),
    Check(
        topic="TDX module",
        needs=(*_HARDWARE, "kernel", "TDX in the BIOS", "TDX in KVM"),
        look=_tdx_module,
        cure="BIOS: switch the TDX SEAM Loader on; if it is, update the BIOS, which brings the module",
    ),
    Check(
        topic="SGX",
        needs=_HARDWARE,
        look=_sgx,
        cure="BIOS: switch Software Guard Extensions (SGX) on; it needs memory in every channel's first slot",
    ),
    Check(topic="guest sockets", needs=("kernel",), look=_sockets, cure="load the kernel module vhost_vsock at boot"),
    Check(
        topic="memory",
        look=_memory,
        cure="add memory, or lower tee_host_memory_gigabytes if no node's measurements ask for it",
    ),
    Check(
        topic="processors",
        look=_processors,
        cure="use a larger server, or lower tee_host_processors if no node's measurements ask for them",
    ),
)


def tdx_findings(facts: Mapping[str, Any], memory_gigabytes: int, processors: int) -> list[dict[str, str]]:
    """One finding for each check, in the order in which faults are cured: topic, state, found, cure."""
    machine = Machine(facts=facts, memory_gigabytes=memory_gigabytes, processors_wanted=processors)
    states: dict[str, str] = {}
    findings = []
    for check in CHECKS:
        good, found = check.look(machine)
        waits = [topic for topic in check.needs if states[topic] != OK]
        states[check.topic] = FOLLOWS if waits else (OK if good else FAULT)
        cure = f"first cure: {waits[0]}" if waits else check.cure
        findings.append(
            {
                "topic": check.topic,
                "state": states[check.topic],
                "found": found,
                "cure": "" if states[check.topic] == OK else cure,
            }
        )
    return findings


def tdx_report(findings: list[dict[str, str]], facts: Mapping[str, Any]) -> list[str]:
    """The findings as lines for people; the firmware first, which is what a vendor asks for."""
    firmware = facts["firmware"]
    parts = (firmware["bios_vendor"], firmware["bios_version"], firmware["bios_date"])
    lines = [f"firmware: {' '.join(filter(None, parts)) or 'unknown'}"]
    for finding in findings:
        cure = f" -> {finding['cure']}" if finding["cure"] else ""
        lines.append(f"{finding['state']:7} {finding['topic']}: {finding['found']}{cure}")
    return lines


class FilterModule:
    """What Ansible looks for."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {"tdx_findings": tdx_findings, "tdx_report": tdx_report}
