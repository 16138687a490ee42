"""What all parts of the engine know: settings, errors, base models by name, where an adapter's tensors lie."""
