"""Training with ESPnet's trainer: what it leaves, and what may go wrong."""
