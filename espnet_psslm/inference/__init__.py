"""A trained model that answers, and what it says about its answers."""
