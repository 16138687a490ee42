"""What the compute thread does: base models, adapters, passes, steps, samples and checkpoint files. Imports torch."""
