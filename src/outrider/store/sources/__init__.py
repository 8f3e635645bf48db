"""Data sources of policy: named queries to databases, Redis, HTTP and CSV files, pooled and cached."""
