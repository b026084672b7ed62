"""`make bench`: runs every measurement, prints a table, writes run/bench.json; exit 1 when a bar is not held."""

import asyncio
import dataclasses
import json
import sys
import tempfile
from pathlib import Path

from tests.bench import Row, idle, lifecycle, size, storage, transfer, web

OUT = Path("run/bench.json")


def main() -> int:
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="sharekeeper-bench-") as name:
        directory = Path(name)
        for part in (storage, transfer, web, lifecycle, size, idle):
            print(f"measuring: {part.__doc__.splitlines()[0]}", file=sys.stderr, flush=True)
            for row in asyncio.run(part.measure(directory)):
                rows.append(row)
                print(_line(row), flush=True)
    OUT.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    OUT.write_text(
        json.dumps({"schema": 1, "type": "bench", "rows": [dataclasses.asdict(row) for row in rows]}, indent=1)
    )
    missed = [row.what for row in rows if not row.held]
    print(f"{len(rows)} figures in {OUT}; " + (f"bars missed: {', '.join(missed)}" if missed else "every bar is held"))
    return 1 if missed else 0


def _line(row: Row) -> str:
    bar = "" if row.bar is None else f"  (bar {row.bar:g}: {'held' if row.held else 'MISSED'})"
    return f"  {row.what:<58} {row.value:10.2f} {row.unit:<14}{bar}  {row.detail}"


if __name__ == "__main__":
    sys.exit(main())
