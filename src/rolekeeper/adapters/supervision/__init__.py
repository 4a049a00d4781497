"""The daemon's surroundings: its attempts, runtime directory, signals, service manager and log."""
