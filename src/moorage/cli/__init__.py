"""The `moorage` command: one module for each subcommand, imported only when that one is used."""
