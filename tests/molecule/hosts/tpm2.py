"""A TPM2 of a host's own: swtpm as a unit on its disk, so that what is sealed to it outlives a power failure.

Users reach it through tpm2-abrmd, which is to it what a kernel's /dev/tpmrm0 is to a chip: only root may, and what one
leaves behind is no other's: systemd 252 forgets a session whenever it unseals, and a TPM2 has room for three. systemd finds
it by a variable: the first process in its own settings, a shell and what Ansible runs in /etc/environment. There is no
firmware: its PCRs are zero until somebody extends them.
"""

from pathlib import Path
from typing import Final

_DEVICE: Final = "SYSTEMD_TPM2_DEVICE=tabrmd:bus_name=com.intel.tss2.Tabrmd"
_SEND: Final = "/usr/local/sbin/tpm2send"
# What chips have from their makers, by TPM2_DictionaryAttackParameters: it takes 32 power failures to lock one, and one is
# forgotten every ten minutes. swtpm has 3.
_LIMITS: Final = "8002 00000027 0000013a 4000000a 00000009 40000009 0000 00 0000 00000020 00000258 00000258"
# What the kernel tells it when the machine goes down in good order: TPM2_Shutdown.
_SHUTDOWN: Final = "8001 0000000c 00000145 0000"
_CHIP: Final = f"""\
[Unit]
Description=TPM2 of this test host
Wants=tpm2-abrmd.service

[Service]
Type=exec
StateDirectory=swtpm
ExecStart=/usr/bin/swtpm socket --tpm2 --tpmstate dir=/var/lib/swtpm --flags not-need-init,startup-clear \\
    --server type=tcp,port=2321 --ctrl type=tcp,port=2322
ExecStartPost={_SEND} {_LIMITS}
ExecStop=-{_SEND} {_SHUTDOWN}
Restart=always

"""
_MANAGER: Final = """\
[Unit]
Description=Resource manager of the TPM2 of this test host
BindsTo=swtpm.service
PartOf=swtpm.service
After=swtpm.service

[Service]
Type=dbus
BusName=com.intel.tss2.Tabrmd
User=tss
ExecStart=/usr/sbin/tpm2-abrmd --tcti=swtpm:host=127.0.0.1,port=2321
Restart=on-failure
"""

FILES: Final = {
    "etc/environment": (f"{_DEVICE}\n", 0o644),
    "etc/systemd/system.conf.d/tpm2.conf": (f"[Manager]\nManagerEnvironment={_DEVICE}\n", 0o644),
    "etc/systemd/system/swtpm.service": (_CHIP, 0o644),
    "etc/systemd/system/tpm2-abrmd.service": (_MANAGER, 0o644),
    "etc/systemd/system/multi-user.target.d/tpm2.conf": ("[Unit]\nWants=swtpm.service\n", 0o644),
    _SEND.lstrip("/"): (Path(__file__).with_name("tpm2send.py").read_text(encoding="utf-8"), 0o755),
}
"""What makes a host one with a TPM2, below its root: content and mode, as in the image's recipe."""
