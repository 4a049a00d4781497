"""Files: where they are, who may write them, and how they are replaced."""
