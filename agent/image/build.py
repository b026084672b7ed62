# ruff: noqa: INP001  # a script of the checkout
"""Builds the image of the hard launch: an OCI archive whose digest the network votes for.

    python agent/image/build.py --to DIRECTORY [--rootfs FILE]

Three layers: a minimal Debian with Python; what the agent needs, unpacked from wheels that the lock names by hash;
and those modules of the agent that the hard launch can import, no others. The same sources, lock and Debian packages
give the same bytes, so whoever votes builds it again and compares. Prints one JSON line with digest and archive.

Debian's packages are those of the mirror that this machine's package manager uses; only root makes the first layer.
`--rootfs` takes one that was made before instead, as a tar.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterable
from importlib import util
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
LOCK: Final = "requirements/agent.txt"
SITE: Final = "usr/local/lib/python3.11/dist-packages"
"""Where Debian's Python finds what is not Debian's."""

SUITE: Final = "bookworm"
PACKAGES: Final = ("ca-certificates", "python3")
_LEFT_OUT: Final = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
_LEFT_BEHIND: Final = (
    *("dev/", "proc/", "run/", "sys/", "tmp/", "var/cache/", "var/lib/apt/", "var/log/"),
    *("etc/hostname", "etc/machine-id", "etc/resolv.conf", "var/lib/dbus/machine-id"),
)
"""Traces of the build, and what the container engine puts in place."""

_ARCHITECTURE: Final = "amd64"
_MACHINE: Final = "x86_64"
_ENTRYPOINT: Final = ("/usr/bin/python3", "-I", "-B", "-m", "sharekeeper.hard_launch")


def _sibling(name: str, path: Path) -> ModuleType:
    """A script of this checkout, as a module."""
    spec = util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        sys.exit(f"{path} is missing: build from a whole checkout")
    module = util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


oci: Final = _sibling("image_oci", Path(__file__).with_name("oci.py"))
modules: Final = _sibling("image_closure", Path(__file__).with_name("closure.py"))
bundle: Final = _sibling("image_bundle", CHECKOUT / "roles/bundle/files/build.py")


def build(target: Path, rootfs: Path | None) -> str:
    """The archive is at `target`; returns its image's digest."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as directory:
        work = Path(directory)
        layers = [work / "rootfs.tar", work / "wheels.tar", work / "agent.tar"]
        oci.normalize_layer(rootfs or debian(work / "debian.tar"), layers[0], without=_LEFT_BEHIND)
        (work / "wheels").mkdir()
        bundle.download(LOCK, _MACHINE, work / "wheels")
        oci.write_layer(layers[1], unpacked((work / "wheels").glob("*.whl")))
        oci.write_layer(layers[2], agent_files())
        program = oci.Program(
            architecture=_ARCHITECTURE, entrypoint=_ENTRYPOINT, environment=("PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8")
        )
        digest: str = oci.write_image(work / "image.tar", layers, program)
        (work / "image.tar").replace(target)
    return digest


def debian(target: Path) -> Path:
    """A minimal Debian as a tar at `target`. Needs root."""
    command = [
        *("mmdebstrap", "--quiet", "--variant=essential", f"--include={','.join(PACKAGES)}"),
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(SUITE, str(target)),
    ]
    environment = os.environ | {"SOURCE_DATE_EPOCH": str(oci.EPOCH), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        sys.exit(f"mmdebstrap failed: {done.stderr.strip()[-800:]}")
    return target


def unpacked(wheels: Iterable[Path]) -> dict[str, bytes]:
    """What the wheels install, by path in the image. Their commands are left out: the image starts one program."""
    files: dict[str, bytes] = {}
    for wheel in sorted(wheels):
        with zipfile.ZipFile(wheel) as archive:
            for name in archive.namelist():
                place = _place(name)
                if place is not None:
                    files[f"{SITE}/{place}"] = archive.read(name)
    return files


def _place(name: str) -> str | None:
    """Where a file of a wheel goes below the site directory; None for what is not installed there."""
    parts = PurePosixPath(name).parts
    if name.endswith("/") or ".." in parts:
        return None
    if parts[0].endswith(".data"):
        return "/".join(parts[2:]) if parts[1] in {"purelib", "platlib"} else None
    return name


def agent_files(root: Path = CHECKOUT / "agent") -> dict[str, bytes]:
    """The modules that the hard launch can import, by path in the image. Ends the build if one of them is forbidden."""
    try:
        found = modules.closure(root)
    except modules.ForbiddenModule as error:
        sys.exit(str(error))
    return {f"{SITE}/{path.relative_to(root)}": path.read_bytes() for path in found.values()}


def main() -> None:
    """Builds what the command line asks for."""
    parser = argparse.ArgumentParser(description="Build the image of the hard launch.")
    parser.add_argument("--to", type=Path, required=True, help="directory of the archive")
    parser.add_argument("--rootfs", type=Path, help="a Debian made before, as a tar")
    options = parser.parse_args()
    archive = options.to.resolve() / "sharekeeper-hard-launch.tar"
    digest = build(archive, options.rootfs)
    print(json.dumps({"digest": digest, "archive": str(archive)}))  # noqa: T201  # the one line is the interface


if __name__ == "__main__":
    main()
