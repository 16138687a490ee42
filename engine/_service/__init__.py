"""What is asked for, in which order, and who waits for it: everything on the event loop that is no HTTP."""
