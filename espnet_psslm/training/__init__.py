"""ESPnet tasks: how models are trained."""
