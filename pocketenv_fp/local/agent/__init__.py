"""What runs inside a sandbox: started on its own, it imports nothing of the rest of this package."""
