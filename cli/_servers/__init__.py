"""Which server a command talks to, an engine of its own among them."""
