"""Measure: `python -m bench [ROW ...]`; FULL=1 adds peers. Exits 1 if a goal is missed."""

import os
import signal
import sys
import traceback

from bench.bench import Bench
from bench.measure import RowSkipped
from bench.rows import ROWS


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        print(f"No such row: {', '.join(unknown)}. There are {', '.join(ROWS)}.", file=sys.stderr)
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(_say, has_peers=os.environ.get("FULL") == "1")
    missed: list[str] = []
    try:
        for name in names or ROWS:
            _say(name)
            try:
                for line in ROWS[name](bench):
                    print(line, flush=True)
                    if not line.is_met:
                        missed.append(line.name)
            except RowSkipped as reason:
                print(f"{name}: not measured: {reason}", flush=True)
            except Exception:
                traceback.print_exc()
                missed.append(f"{name} (it failed)")
    finally:
        bench.close()
    if missed:
        print(f"Missed: {'; '.join(missed)}.")
    return 1 if missed else 0


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\033[2m… {text}\033[0m", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
