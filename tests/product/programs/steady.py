"""Print numbered, checksummed lines at a steady rate, and keep a record of them elsewhere."""

import argparse
import hashlib
import os
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("--record", required=True, help="a folder outside of the run")
parser.add_argument("--lines", type=int, default=1000)
parser.add_argument("--per-second", type=float, default=100)
asked = parser.parse_args()

name = f"{os.environ['TRAINYARD_ROLE']}-{os.environ['TRAINYARD_INDEX']}"
record = open(os.path.join(asked.record, name), "ab", buffering=0)  # noqa: SIM115


def say(text):
    line = f"{text}\n".encode()
    record.write(line)
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()


say(f"started as {os.getpid()}")
began = time.monotonic()
for number in range(1, asked.lines + 1):
    say(f"{number} {hashlib.sha256(f'{name} {number}'.encode()).hexdigest()}")
    time.sleep(max(0.0, began + number / asked.per_second - time.monotonic()))
with open(f"outputs/{name}.txt", "w") as result:
    result.write(f"{name} counted to {asked.lines}\n")
