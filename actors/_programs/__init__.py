"""Training programs: what a trainer is told to do."""
