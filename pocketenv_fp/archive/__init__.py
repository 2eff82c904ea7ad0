"""Trees of files as tar.gz, and back."""
