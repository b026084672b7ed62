# ruff: noqa: INP001  # it runs from a role's files
"""Builds what the roles install on machines without a network: one tar per application, on the controller.

    python roles/bundle/files/build.py --to DIRECTORY [--machine x86_64] [--only NAME]

A bundle holds the project's wheels, those of everything they need, and one hashed requirements file of them all.
The same sources and lock give the same bytes. Prints one JSON line; `changed` is true when a bundle differs.
"""

import argparse
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[3]
PYTHON: Final = "3.11"
"""Python of the machines: Debian bookworm's."""

_GLIBC: Final = ("2_5", "2_12", "2_17", "2_24", "2_26", "2_27", "2_28", "2_31", "2_34")
_EPOCH: Final = "315532800"  # the first moment a zip file can name


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """One application: the projects it is made of, and the lock of what they need."""

    name: str
    projects: tuple[str, ...]
    lock: str


BUNDLES: Final = (
    Bundle(name="sharekeeper", projects=(".",), lock="requirements/agent.txt"),
    Bundle(name="sharekeeper-devnet", projects=(".", "agent"), lock="requirements/devnet.txt"),
)


def build(bundle: Bundle, machine: str, target: Path) -> bool:
    """The bundle is at `target`; True if its bytes are new. Nothing is built for sources that were built before."""
    sources, built_from = fingerprint(bundle), target.with_suffix(".sources")
    if target.exists() and built_from.exists() and built_from.read_text(encoding="ascii") == sources:
        return False
    built_from.unlink(missing_ok=True)
    changed = _write(target, _content(bundle, machine))
    built_from.write_text(sources, encoding="ascii")
    return changed


def fingerprint(bundle: Bundle) -> str:
    """SHA-256 over everything that a bundle is built from."""
    files = [Path(__file__), CHECKOUT / bundle.lock]
    for project in bundle.projects:
        root = CHECKOUT / project
        package = "agent/sharekeeper" if project == "." else "sharekeeper_devnet"
        files += [root / "pyproject.toml", *sorted((root / package).rglob("*.py"))]
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(CHECKOUT)}\0".encode() + file.read_bytes())
    return digest.hexdigest()


def _content(bundle: Bundle, machine: str) -> bytes:
    with tempfile.TemporaryDirectory() as directory:
        wheels = Path(directory)
        for project in bundle.projects:
            _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(wheels), str(CHECKOUT / project))
        own = sorted(wheels.glob("*.whl"))
        requirements = (CHECKOUT / bundle.lock).read_text(encoding="utf-8") + "".join(map(_requirement, own))
        download(bundle.lock, machine, wheels)
        return _tar(wheels, requirements)


def download(lock: str, machine: str, wheels: Path) -> None:
    """The wheels that `lock` names by hash are in the directory `wheels`."""
    _pip("download", *_platform(machine), "--dest", str(wheels), "--requirement", str(CHECKOUT / lock))


def _write(target: Path, content: bytes) -> bool:
    if target.exists() and target.read_bytes() == content:
        return False
    target.parent.mkdir(parents=True, exist_ok=True)
    fresh = target.with_suffix(".new")
    fresh.write_bytes(content)
    fresh.replace(target)
    return True


def _requirement(wheel: Path) -> str:
    name, version = wheel.name.split("-")[:2]
    return f"{name}=={version} --hash=sha256:{hashlib.sha256(wheel.read_bytes()).hexdigest()}\n"


def _platform(machine: str) -> list[str]:
    words = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--python-version", PYTHON]
    words += ["--implementation", "cp", "--abi", f"cp{PYTHON.replace('.', '')}", "--abi", "abi3", "--abi", "none"]
    platforms = [f"manylinux_{glibc}_{machine}" for glibc in _GLIBC]
    platforms += [f"manylinux1_{machine}", f"manylinux2010_{machine}", f"manylinux2014_{machine}", f"linux_{machine}"]
    return words + [word for platform in platforms for word in ("--platform", platform)]


def _pip(verb: str, *words: str) -> None:
    command = [sys.executable, "-m", "pip", verb, "--quiet", "--disable-pip-version-check", *words]
    done = subprocess.run(  # noqa: S603  # our own pip
        command, env=os.environ | {"SOURCE_DATE_EPOCH": _EPOCH}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"pip {verb} failed: {done.stderr.strip()[-800:]}")


def _tar(wheels: Path, requirements: str) -> bytes:
    files = {f"wheels/{wheel.name}": wheel.read_bytes() for wheel in wheels.glob("*.whl")}
    files["requirements.txt"] = requirements.encode()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(data), 0o644
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def main() -> None:
    """Builds what the command line asks for."""
    parser = argparse.ArgumentParser(description="Build what the roles install on machines without a network.")
    parser.add_argument("--to", type=Path, required=True, help="directory of the bundles")
    parser.add_argument("--machine", default="x86_64", choices=("x86_64", "aarch64"), help="processor of the machines")
    parser.add_argument("--only", choices=[bundle.name for bundle in BUNDLES], help="one of them")
    options = parser.parse_args()
    wanted = [bundle for bundle in BUNDLES if options.only in (None, bundle.name)]
    paths = {bundle.name: options.to / f"{bundle.name}-{options.machine}.tar" for bundle in wanted}
    changed = [build(bundle, options.machine, paths[bundle.name]) for bundle in wanted]
    line = {"changed": any(changed), "bundles": {name: str(path.resolve()) for name, path in paths.items()}}
    print(json.dumps(line))  # noqa: T201  # the one line is the interface


if __name__ == "__main__":
    main()
