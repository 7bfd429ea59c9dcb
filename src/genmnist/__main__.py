"""`python -m genmnist` is `genmnist`."""

from genmnist.cli import main

main()
