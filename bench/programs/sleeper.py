"""Sleep until told to stop; with --ignore 1, do not even then."""

import signal
import sys
import time

if sys.argv[-1] == "1":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("ready", flush=True)
time.sleep(600)
