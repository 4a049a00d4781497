"""The vault: the registration on disk."""
