# ruff: noqa: INP001 - programs, not modules
"""Compile the MPC contract to WebAssembly, bit for bit the same on every machine.

`build.py` writes `mpc_contract.wasm` and `mpc_contract.wasm.sha256` beside the sources; `build.py --check` compiles
and compares with the files in the tree instead (exit status 1 and one sentence when they differ).

1. A virtual environment of its own with the locked compiler (requirements.txt), kept under `.build/contract`.
2. The MicroPython tree inside `nearc`, copied and patched (micropython-near.patch).
3. `mpy-cross`, then the NEAR port with our modules frozen in, both by `zig cc` (zigcc.py).
"""

import argparse
import ast
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parent
CACHE = CONTRACT.parents[1] / ".build" / "contract"
WASM = CONTRACT / "mpc_contract.wasm"
DIGEST = CONTRACT / "mpc_contract.wasm.sha256"

ENTRY = "contract.py"
PORT = "ports/webassembly-near"
TREE_PARTS = (
    *("extmod", "mpy-cross", "py", "shared", "tools", PORT, "ports/webassembly"),
    *("lib/crypto-algorithms", "lib/libm_dbl", "lib/re1.5", "lib/uzlib"),
)


class BuildError(Exception):
    """The contract could not be built; the message names the fault and the cure."""


def run(command: list[str], *, directory: Path, environment: dict[str, str] | None = None) -> None:
    """Run one step; its output is shown only when it fails."""
    done = subprocess.run(  # noqa: S603 - fixed programs, paths of this tree
        command,
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.stderr.write(done.stdout[-4000:])
        raise BuildError(f"the step `{Path(command[0]).name} {' '.join(command[1:3])} ...` failed; its output is above")


def require_tools() -> None:
    for tool in ("make", "patch"):
        if shutil.which(tool) is None:
            raise BuildError(f"the program `{tool}` is missing; install the system package `{tool}`")
    for module in ("venv", "ensurepip"):
        if importlib.util.find_spec(module) is None:
            raise BuildError(f"Python's module `{module}` is missing; install the system package `python3-venv`")


def digest_of(*paths: Path) -> str:
    """SHA-256 over the files in the order given and over this Python's version."""
    digest = hashlib.sha256(sys.version.encode())
    for path in paths:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def is_stamped(folder: Path, stamp: str) -> bool:
    mark = folder / "stamp"
    return mark.is_file() and mark.read_text() == stamp


def install_compiler() -> Path:
    """The python of an environment that holds exactly the locked compiler; an up-to-date one is reused."""
    folder = CACHE / "venv"
    stamp = digest_of(HERE / "requirements.txt")
    python = folder / "bin" / "python"
    if is_stamped(folder, stamp):
        return python
    shutil.rmtree(folder, ignore_errors=True)
    run([sys.executable, "-m", "venv", str(folder)], directory=HERE)
    pip = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    run([*pip, "--require-hashes", "--only-binary", ":all:", "-r", "requirements.txt"], directory=HERE)
    (folder / "stamp").write_text(stamp)
    return python


def prepare_tree(python: Path) -> Path:
    """MicroPython's sources with our patch; an up-to-date tree is reused with its object files."""
    folder = CACHE / "micropython"
    stamp = digest_of(HERE / "requirements.txt", HERE / "micropython-near.patch", HERE / "zigcc.py")
    if is_stamped(folder, stamp):
        return folder
    shutil.rmtree(folder, ignore_errors=True)
    installed = next(python.parents[1].glob("lib/python3*/site-packages/nearc/micropython"))
    for part in TREE_PARTS:
        shutil.copytree(installed / part, folder / part)
    patch = ["patch", "--strip=1", "--fuzz=0", "--input", str(HERE / "micropython-near.patch")]
    run(patch, directory=folder)
    (folder / "stamp").write_text(stamp)
    return folder


def exported_methods(entry: Path) -> list[str]:
    """The names of the functions of `entry` under the decorator `near.export`."""
    functions = [node for node in ast.parse(entry.read_text()).body if isinstance(node, ast.FunctionDef)]
    return sorted(function.name for function in functions if "near.export" in map(ast.unparse, function.decorator_list))


def write_generated(folder: Path) -> None:
    """The list of frozen modules, in an order of our own, and one C function for each exported method."""
    package = CONTRACT.name
    shutil.rmtree(folder / "frozen", ignore_errors=True)
    (folder / "frozen" / package).mkdir(parents=True)
    manifest = []
    for module in sorted(CONTRACT.glob("*.py")):
        shutil.copyfile(module, folder / "frozen" / package / module.name)
        manifest.append(f'module("{package}/{module.name}", base_path="frozen", opt=3)')
    (folder / "manifest.py").write_text("\n".join(manifest) + "\n")
    wrappers = ["void run_frozen_fn(const char *file_name, const char *fn_name);"]
    wrappers += [
        f'void {method}(void) {{ run_frozen_fn("{package}/{ENTRY}", "{method}"); }}'
        for method in exported_methods(CONTRACT / ENTRY)
    ]
    (folder / "export_wrappers.c").write_text("\n".join(wrappers) + "\n")


def compile_wasm(python: Path, tree: Path) -> bytes:
    """The contract's module. Nothing of the place and time of the build reaches it.

    Without MICROPY_GIT_TAG MicroPython would write this repository's commit into it, without SOURCE_DATE_EPOCH today.
    """
    build = tree / "out"
    build.mkdir(exist_ok=True)
    write_generated(build)
    environment = {
        "HOME": str(CACHE),
        "LC_ALL": "C.UTF-8",
        "MICROPY_GIT_TAG": "v1.24.1",
        "PATH": os.pathsep.join([str(python.parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONHASHSEED": "0",
        "SOURCE_DATE_EPOCH": "0",
        "ZIG_GLOBAL_CACHE_DIR": str(CACHE / "zig"),
        "ZIG_LOCAL_CACHE_DIR": str(CACHE / "zig"),
    }
    make = ["make", "-j2", f"PYTHON={python}"]
    compiler = f"{python} {HERE / 'zigcc.py'}"
    cross = build / "mpy-cross" / "mpy-cross"
    run(
        [*make, f"CC={compiler} host", "LDFLAGS_ARCH=", "STRIP=:", "SIZE=:", f"BUILD={cross.parent}"],
        directory=tree / "mpy-cross",
        environment=environment,
    )
    wasm = build / "contract.wasm"
    for stale in (build / "frozen_content.c", wasm):
        stale.unlink(missing_ok=True)
    port = [
        f"CC={compiler} wasm",
        f"BUILD={build}",
        f"MICROPY_MPYCROSS={cross}",
        f"MICROPY_MPYCROSS_DEPENDENCY={cross}",
        f"FROZEN_MANIFEST={build / 'manifest.py'}",
        f"SRC_C_GENERATED={build / 'export_wrappers.c'}",
        f"EXPORTED_FUNCTIONS={','.join('_' + method for method in exported_methods(CONTRACT / ENTRY))}",
        f"OUTPUT_WASM={wasm}",
    ]
    run([*make, *port], directory=tree / PORT, environment=environment)
    return wasm.read_bytes()


def build() -> bytes:
    require_tools()
    CACHE.mkdir(parents=True, exist_ok=True)
    python = install_compiler()
    return compile_wasm(python, prepare_tree(python))


def check(module: bytes) -> None:
    """Raises BuildError when the tree's files are not what the sources compile to."""
    digest = hashlib.sha256(module).hexdigest()
    if not WASM.is_file() or WASM.read_bytes() != module:
        raise BuildError(
            f"{WASM.name} is not what the sources compile to ({digest}); run `make contract` and commit it"
        )
    if not DIGEST.is_file() or DIGEST.read_text() != digest_line(module):
        raise BuildError(f"{DIGEST.name} does not name {digest}; run `make contract` and commit it")


def digest_line(module: bytes) -> str:
    return f"{hashlib.sha256(module).hexdigest()}  {WASM.name}\n"


def main() -> int:
    parser = argparse.ArgumentParser(description="Compile the MPC contract to WebAssembly.")
    parser.add_argument("--check", action="store_true", help="compare with the files in the tree, change nothing")
    arguments = parser.parse_args()
    try:
        module = build()
        if arguments.check:
            check(module)
    except BuildError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if not arguments.check:
        WASM.write_bytes(module)
        DIGEST.write_text(digest_line(module))
    sys.stdout.write(f"{digest_line(module).strip()} {len(module)} bytes\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
