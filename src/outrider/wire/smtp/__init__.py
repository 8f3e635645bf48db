"""SMTP as machines: the server end, the client end, content in wire form."""
