"""What a pipeline would send, without sending it: `explain` and `as_curl`."""
