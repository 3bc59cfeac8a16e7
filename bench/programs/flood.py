"""Write many numbered lines as fast as they can be written."""

import sys

LINES, BLOCK = int(sys.argv[sys.argv.index("--lines") + 1]), 1000
TEXT = "step loss 0.123456 accuracy 0.987654 learning rate 0.001 and some more text"[:68]

for first in range(0, LINES, BLOCK):
    sys.stdout.write("".join([f"{n:08d} {TEXT}\n" for n in range(first, first + BLOCK)]))
