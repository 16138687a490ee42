"""``python -m tinkex.cli``."""

from tinkex.cli import main

main()
