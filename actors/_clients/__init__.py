"""The actors that speak the Tinker API, and the pure rules beneath them."""
