"""The control database: tenants, streams, credentials, domains, and the audit log of every change to them."""
