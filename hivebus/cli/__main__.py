"""`python -m hivebus.cli` is `hivebus`, for environments whose scripts are not on PATH."""

from hivebus.cli import main

main()
