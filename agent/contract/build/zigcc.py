# ruff: noqa: INP001 - programs, not modules
"""Stands in for the C compilers MicroPython's makefiles expect: `zigcc.py wasm|host ARGUMENT...` runs `zig cc`.

`wasm` translates what the NEAR port asks of emcc, `host` compiles the cross-compiler `mpy-cross` for this machine.
Differences bridged: options of emcc unknown to clang, exported functions, and preprocessing of standard input
or of several files at once, which `zig cc` does not do.
"""

import platform
import subprocess
import sys
import tempfile
from pathlib import Path

# WebAssembly 1.0 without later features: every protocol version of NEAR accepts it.
WASM_COMPILE = ["-target", "wasm32-wasi", "-mcpu=mvp"]
WASM_LINK = [
    "-mexec-model=reactor",
    "-Wl,--no-entry",
    "-Wl,--strip-all",
    "-Wl,-z,stack-size=262144",
    "-Wl,--initial-memory=33554432",
]
QUIET = ["-Wno-everything", "-fno-sanitize=all", "-g0"]
DROPPED = ("-mno-bulk-memory", "-mno-nontrapping-fptoint", "-Werror")
EXPORTS = "-sEXPORTED_FUNCTIONS="


def translate(argument: str) -> list[str]:
    """What `zig cc` calls one argument of emcc; nothing for those it does not need."""
    if argument.startswith(EXPORTS):
        names = argument.removeprefix(EXPORTS).strip('"').split(",")
        return [f"-Wl,--export={name.removeprefix('_')}" for name in names]
    if argument in DROPPED or (argument.startswith("-s") and "=" in argument and not argument.startswith("-std")):
        return []
    return [argument]


def run(command: list[str], arguments: list[str]) -> int:
    """The exit status of the compiler over `arguments`; each source of a preprocessor run is a run of its own."""
    sources = [argument for argument in arguments if argument.endswith(".c")]
    if "-E" not in arguments or len(sources) < 2:  # noqa: PLR2004 - two files are "several"
        return subprocess.call([*command, *arguments])  # noqa: S603 - a fixed program, arguments of our makefile
    others = [argument for argument in arguments if argument not in sources]
    for source in sources:
        status = subprocess.call([*command, *others, source])  # noqa: S603
        if status:
            return status
    return 0


def main(target: str, arguments: list[str]) -> int:
    command = [sys.executable, "-m", "ziglang", "cc", *QUIET]
    arguments = [word for argument in arguments for word in translate(argument)]
    if target == "wasm":
        command += WASM_COMPILE
        if not {"-c", "-E", "-S"} & set(arguments):
            command += WASM_LINK
    else:
        command += ["-target", f"{platform.machine()}-linux-musl", "-DMICROPY_GCREGS_SETJMP=1"]
    if "-" not in arguments:
        return run(command, arguments)
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "stdin.c")
        source.write_bytes(sys.stdin.buffer.read())
        return run(command, [str(source) if argument == "-" else argument for argument in arguments])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
