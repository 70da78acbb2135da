"""ESPnet tasks: how models are trained, and what may go wrong."""
