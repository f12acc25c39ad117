"""Run the daemon: `python -m supervisor`."""

import sys

from supervisor.entrypoint import main

if __name__ == "__main__":
    sys.exit(main())
