"""Short-lived IAM role credentials for Linux servers outside AWS."""

__version__ = "0.1.0"
