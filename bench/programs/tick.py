"""Write lines at a steady rate, each with the time at which it was written."""

import sys
import time

RATE, SECONDS = (int(sys.argv[sys.argv.index(name) + 1]) for name in ("--rate", "--seconds"))

began = time.monotonic()
for number in range(RATE * SECONDS):
    time.sleep(max(began + number / RATE - time.monotonic(), 0))
    print(f"{time.monotonic():.6f} step {number} loss 0.123456 accuracy 0.987654 " + "." * 24)
