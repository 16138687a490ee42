"""What the commands about runs do."""
