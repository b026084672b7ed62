# ruff: noqa: INP001  # it runs from a role's files
"""Reads what a machine is: processor, firmware, kernel and devices. It judges nothing and changes nothing."""

import re
from pathlib import Path
from typing import Any, Final

from ansible.module_utils.basic import AnsibleModule

DOCUMENTATION: Final = r"""
module: tdx_facts
short_description: Read the facts on which TDX depends
description:
  - Reads processor, firmware, kernel, devices and the kernel's log of this boot. It judges nothing.
options:
  root:
    description: The directory below which C(proc), C(sys), C(dev) and C(etc) are.
    type: path
    default: /
author: The Sharekeeper developers
"""
EXAMPLES: Final = r"""
- name: Read the hardware
  tdx_facts:
  register: read
"""
RETURN: Final = r"""
machine:
  description: What was read; an empty text where there was nothing to read.
  type: dict
  returned: always
"""

_FLAGS: Final = ("hypervisor", "sgx", "tme", "vmx")
_DEVICES: Final = ("kvm", "sgx_enclave", "sgx_provision", "vhost-vsock")
_FIRMWARE: Final = ("sys_vendor", "product_name", "bios_vendor", "bios_version", "bios_date")
_SAID: Final = re.compile(r"\b(tdx|tme|mktme|sgx)\b", re.IGNORECASE)


def read_machine(root: Path, kernel_log: str) -> dict[str, Any]:
    """What the tree below `root` and the kernel's log say, as plain values for JSON."""
    processors = [_named_values(block, ":") for block in _text(root / "proc/cpuinfo").split("\n\n") if block.strip()]
    processor = processors[0] if processors else {}
    system = _named_values(_text(root / "etc/os-release"), "=")
    memory = _named_values(_text(root / "proc/meminfo"), ":").get("MemTotal", "").split()
    flags = set(processor.get("flags", "").split())
    return {
        "vendor": processor.get("vendor_id", ""),
        "model": processor.get("model name", ""),
        "flags": [flag for flag in _FLAGS if flag in flags],
        "processors": len(processors),
        "memory_mebibytes": int(memory[0]) // 1024 if memory else 0,
        "system": f"{system.get('ID', '')} {system.get('VERSION_ID', '')}".strip(),
        "kernel": _text(root / "proc/sys/kernel/osrelease"),
        "kvm_tdx": _text(root / "sys/module/kvm_intel/parameters/tdx"),
        "devices": [name for name in _DEVICES if (root / "dev" / name).exists()],
        "firmware": {name: _text(root / "sys/class/dmi/id" / name) for name in _FIRMWARE},
        "kernel_says": [line.strip() for line in kernel_log.splitlines() if _SAID.search(line)],
    }


def _text(path: Path) -> str:
    """What the file says; nothing if there is none: that too is a fact."""
    return path.read_text(encoding="utf-8", errors="replace").strip() if path.is_file() else ""


def _named_values(text: str, separator: str) -> dict[str, str]:
    """Lines of name, separator and value; quotes around values are gone."""
    parts = (line.partition(separator) for line in text.splitlines() if separator in line)
    return {name.strip(): value.strip().strip('"') for name, _, value in parts}


def _kernel_log(module: AnsibleModule) -> str:
    """The kernel's log since the boot: the journal's, which forgets nothing, or else the ring buffer's."""
    for program, *words in (["journalctl", "--dmesg", "--boot", "--no-pager", "--output=cat"], ["dmesg"]):
        path = module.get_bin_path(program)
        if path is None:
            continue
        status, said, _ = module.run_command([path, *words])
        if status == 0 and len(said.splitlines()) > 1:
            return str(said)
    return ""


def main() -> None:
    """What Ansible calls."""
    module = AnsibleModule(argument_spec={"root": {"type": "path", "default": "/"}}, supports_check_mode=True)
    machine = read_machine(Path(module.params["root"]), _kernel_log(module))
    module.exit_json(changed=False, machine=machine)


if __name__ == "__main__":
    main()
