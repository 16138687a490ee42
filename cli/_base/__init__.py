"""What every command stands on: how it ends, where it looks, how it speaks."""
