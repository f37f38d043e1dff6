"""``python -m qvl_preflight``."""

from qvl_preflight.cli import main

raise SystemExit(main())
