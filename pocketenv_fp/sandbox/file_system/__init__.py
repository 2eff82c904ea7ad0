"""Read, write and list the files that are in a sandbox now."""
