"""File trees as tar.gz archives."""
