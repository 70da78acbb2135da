"""What the stages of a recipe do to a corpus."""
