#!/usr/bin/python3
"""A stand-in for dstack-vmm 0.5: its HTTP interface, its files and its limits, with a process in place of each guest.

Names, defaults and answers are those of dstack's vmm/rpc/proto/vmm_rpc.proto, vmm/src/main_service.rs and
vmm/src/app/qemu.rs. Nothing is measured and nothing is encrypted. In QEMU's place it starts the `qemu-system-test` of
the guest's image with the guest's directory; an image that has none gives guests that do nothing.
"""

import hashlib
import json
import os
import shutil
import signal
import socketserver
import subprocess
import sys
import tomllib
import uuid
from http.server import BaseHTTPRequestHandler
from pathlib import Path

SETTINGS = tomllib.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
RUN = Path(SETTINGS["run_path"])


class Refused(Exception):
    """What the VMM answers in place of a result."""


class Guest:
    """A guest and its directory, laid out as dstack's: manifest, app-compose, user configuration, disk."""

    def __init__(self, identity):
        self.id, self.home = identity, RUN / identity
        if not (self.home / "vm-manifest.json").exists():
            raise Refused(f"The instance {identity} not found")

    def manifest(self):
        return json.loads((self.home / "vm-manifest.json").read_text())

    def pid(self):
        path = self.home / "qemu.pid"
        pid = int(path.read_text()) if path.exists() else 0
        alive = (
            pid and b"qemu-system-test" in (Path("/proc") / str(pid) / "cmdline").read_bytes()
            if pid and Path(f"/proc/{pid}").exists()
            else False
        )
        return pid if alive else None

    def machine(self):
        """What stands for QEMU, as words."""
        program = Path(SETTINGS["image_path"]) / self.manifest()["image"] / "qemu-system-test"
        if program.exists():
            return [str(program), str(self.home)]
        return ["/bin/bash", "-c", "exec -a qemu-system-test sleep infinity"]

    def start(self):
        if self.pid() is None:
            process = subprocess.Popen(self.machine(), start_new_session=True)
            (self.home / "qemu.pid").write_text(str(process.pid))
        (self.home / "started").touch()

    def stop(self):
        (self.home / "started").unlink(missing_ok=True)
        if (pid := self.pid()) is not None:
            os.killpg(pid, signal.SIGKILL)

    def info(self, brief):
        started, runs = (self.home / "started").exists(), self.pid() is not None
        status = {(True, True): "running", (True, False): "exited", (False, True): "stopping"}.get(
            (started, runs), "stopped"
        )
        manifest = self.manifest()
        configuration = manifest | {
            "compose_file": (self.home / "shared" / "app-compose.json").read_text(),
            "user_config": (self.home / "shared" / ".user-config").read_text(),
        }
        return {
            "id": self.id,
            "name": manifest["name"],
            "status": status,
            "app_id": manifest["app_id"],
            "boot_error": "",
            "configuration": None if brief else configuration,
        }


def ports(asked):
    """The port mappings as the VMM stores them, if it may publish them."""
    limits = SETTINGS["cvm"]["port_mapping"]
    for one in asked:
        if not any(
            rule["protocol"] == one["protocol"] and rule["from"] <= one["host_port"] <= rule["to"]
            for rule in limits["range"]
        ):
            raise Refused(f"Port mapping is not allowed for {one['protocol']}:{one['host_port']}")
    return [{key: one[key] for key in ("protocol", "host_address", "host_port", "vm_port")} for one in asked]


def create(asked):
    if not all(letter.isalnum() or letter in "-_" for letter in asked["name"]):
        raise Refused(f"Invalid name: {asked['name']}")
    if not (Path(SETTINGS["image_path"]) / asked["image"]).is_dir():
        raise Refused(f"image {asked['image']} not found")
    if (
        asked["vcpu"] > SETTINGS["cvm"]["max_allocable_vcpu"]
        or asked["memory"] > SETTINGS["cvm"]["max_allocable_memory_in_mb"]
    ):
        raise Refused("not enough resources")
    json.loads(asked["compose_file"])
    app_id = hashlib.sha256(asked["compose_file"].encode()).hexdigest()[:40]
    if asked["app_id"] not in (None, app_id):
        raise Refused("app_id does not match the compose file")
    home = RUN / str(uuid.uuid4())
    (home / "shared").mkdir(parents=True)
    manifest = {key: asked[key] for key in ("name", "image", "vcpu", "memory", "disk_size", "hugepages", "pin_numa")}
    manifest |= {"app_id": app_id, "ports": ports(asked["ports"])}
    (home / "vm-manifest.json").write_text(json.dumps(manifest))
    (home / "shared" / "app-compose.json").write_text(asked["compose_file"])
    (home / "shared" / ".user-config").write_text(asked["user_config"])
    (home / "hda.img").touch()
    Guest(home.name).start()
    return {"id": home.name}


def upgrade(asked):
    guest = Guest(asked["id"])
    if asked.get("user_config"):
        (guest.home / "shared" / ".user-config").write_text(asked["user_config"])
    if asked.get("update_ports"):
        manifest = guest.manifest() | {"ports": ports(asked["ports"])}
        (guest.home / "vm-manifest.json").write_text(json.dumps(manifest))
    return {"id": ""}


def remove(asked):
    guest = Guest(asked["id"])
    if guest.pid() is not None:
        raise Refused("VM is running, stop it first")
    shutil.rmtree(guest.home)


def status(asked):
    guests = [Guest(path.parent.name) for path in sorted(RUN.glob("*/vm-manifest.json"))]
    chosen = [guest for guest in guests if guest.id in (asked.get("ids") or [guest.id])]
    return {"vms": [guest.info(asked.get("brief", False)) for guest in chosen], "total": len(guests)}


CALLS = {
    "Version": lambda _: {"version": "0.5.8", "rev": "stand-in"},
    "Status": status,
    "CreateVm": create,
    "UpgradeApp": upgrade,
    "StartVm": lambda asked: Guest(asked["id"]).start(),
    "StopVm": lambda asked: Guest(asked["id"]).stop(),
    "RemoveVm": remove,
}


class Calls(BaseHTTPRequestHandler):
    """POST /prpc/NAME?json, and the name of each call in the journal."""

    def do_POST(self):
        name = self.path.removeprefix("/prpc/").removesuffix("?json")
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            code, answer = 200, CALLS[name](asked)
        except (Refused, KeyError) as refused:
            code, answer = 400, {"error": str(refused)}
        sys.stdout.write(f"{name} {code}\n")
        sys.stdout.flush()
        body = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words):
        """The line above says it."""

    def address_string(self):
        return "socket"


if __name__ == "__main__":
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    if not Path(SETTINGS["supervisor"]["exe"]).exists():
        sys.exit("no supervisor")
    RUN.mkdir(parents=True, exist_ok=True)
    path = SETTINGS["address"].removeprefix("unix:")
    Path(path).unlink(missing_ok=True)
    socketserver.UnixStreamServer(path, Calls).serve_forever()
