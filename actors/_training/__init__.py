"""The training client: one model, its requests in order, and what stands behind its reference."""
