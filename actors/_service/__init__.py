"""The service client: one user of one server, its creates, and what it asks about checkpoints."""
