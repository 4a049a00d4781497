"""The configuration: TOML in, settings out."""
