"""What a configuration file says, and the program that it describes."""
