"""The demo, and how it looks whether anything is left."""
