"""The rules, pure: no I/O, no clock, no environment, no randomness, no logging."""
