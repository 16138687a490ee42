"""What stays of supervised runs: folders, manifests, logs, and the store that says who may write."""
