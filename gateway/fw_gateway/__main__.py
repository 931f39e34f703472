"""`python -m fw_gateway` is the `fw` command."""

from fw_gateway.cli import main

main()
