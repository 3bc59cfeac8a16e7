"""Work for a while and write a block of lines, again and again, some 20 MB/s; say how long it took.

The work is the same each time, so whatever holds up the writing makes the whole take longer.
"""

import hashlib
import sys
import time

LINE = b"step loss 0.123456 accuracy 0.987654 ".ljust(99, b".") + b"\n"
BLOCK = LINE * 640
WORK = bytes(1 << 20)

blocks, rounds = (int(sys.argv[sys.argv.index(name) + 1]) for name in ("--blocks", "--rounds"))
out = sys.stdout.buffer
began = time.monotonic()
for _ in range(blocks):
    for _ in range(rounds):
        hashlib.sha256(WORK).digest()
    out.write(BLOCK)
    out.flush()
print(f"\ntook {time.monotonic() - began:.6f}", flush=True)
