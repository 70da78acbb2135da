"""From rows of a manifest to samples, and audio on disk."""
