"""Where role credentials are published."""
