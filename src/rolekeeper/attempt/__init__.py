"""One attempt: look, decide, perform."""
