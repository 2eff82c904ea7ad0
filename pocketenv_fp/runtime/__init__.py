"""What a call runs under: a deadline, signals, progress, variables, and optional packages."""
