"""``python -m chatlio_kit``."""

from chatlio_kit.cli import main

main()
