"""The loop as a pure table: states, transitions, delays, status."""
