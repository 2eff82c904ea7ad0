"""Copying files between this machine and sandboxes, and between sandboxes."""
