"""Steps of a CTC posterior, real and simulated."""
