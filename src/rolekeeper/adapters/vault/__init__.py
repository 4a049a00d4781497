"""The vault, one file, and SSM Agent's, which is only read."""

FILE = "vault.json"  # in the vault's directory
