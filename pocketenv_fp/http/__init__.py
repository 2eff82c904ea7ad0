"""The wire: requests as values, connections, the request limit, and the storage host."""
