"""The vault, one file, its keys, and SSM Agent's vault, which is only read."""

FILE = "vault.json"  # in the vault's directory
KEY_MISSING = "vault-key-missing"  # the code of a vault that is sealed, or is to be, without a key
