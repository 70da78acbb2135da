"""What every room may need: cache folder, archives, checkpoints, locks."""
