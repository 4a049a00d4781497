"""The hybrid operations of Systems Manager."""
