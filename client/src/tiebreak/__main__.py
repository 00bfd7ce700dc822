"""`python -m tiebreak` is the command `tiebreak`."""

import sys

from tiebreak.command import main

sys.exit(main())
