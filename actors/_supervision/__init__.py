"""The Supervisor actor and its proxy."""
