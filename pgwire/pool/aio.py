"""AsyncPool: to come."""
