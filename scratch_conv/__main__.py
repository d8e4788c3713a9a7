"""`python -m scratch_conv` is the command `scratch-conv`."""

import sys

from scratch_conv.cli import main

if __name__ == "__main__":
    sys.exit(main())
