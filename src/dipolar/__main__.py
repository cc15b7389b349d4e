"""``python -m dipolar`` is the ``dipolar`` command."""

import sys

from dipolar.cli.main import main

sys.exit(main())
