"""Synthetic speech for recipes: a table of voices, the synthesisers, and rooms and microphones."""
