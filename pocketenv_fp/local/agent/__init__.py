"""The part that runs inside a sandbox. It is started on its own and imports nothing of the rest of this package."""
