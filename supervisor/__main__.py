"""Run the daemon: `python -m supervisor`."""

import sys

from supervisor.daemon import main

if __name__ == "__main__":
    sys.exit(main())
