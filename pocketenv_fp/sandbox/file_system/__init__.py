"""Reading, writing and listing files of a sandbox, now."""
