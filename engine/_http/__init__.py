"""The HTTP face: who may ask, what a body says, and which answer goes back."""
