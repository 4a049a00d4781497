"""`python -m rolekeeper` is `rolekeeper`."""

import sys

from rolekeeper.cli import main

sys.exit(main())
