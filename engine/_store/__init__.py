"""What outlives the process: the root folder, its database, and their rows."""
