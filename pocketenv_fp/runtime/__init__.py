"""The runtime environment of a call: deadline, signals, progress, environment variables, and optional packages."""
