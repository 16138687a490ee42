"""Recovery: what becomes of runs whose session or weights were lost."""
