"""Run one process of a group: fetch its source, wait for the others, start it, ship what it writes.

`python -I -S .../runner/__main__.py FOLDER [--lock=N] [--finish]`. The folder holds
runner.json: url, token, ca_bundle, group, name, bin (the folder of the environment's Python), gpus
and environment. N is a file descriptor that holds the folder's lock. With --finish the program is
known to be gone, and what the folder still holds is shipped.
"""

import os
import sys

sys.path.append(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from runner.main import main

sys.exit(main(sys.argv[1:]))
