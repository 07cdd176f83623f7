"""`python -m haloquant` is `haloquant`."""

from haloquant.cli import main

main()
