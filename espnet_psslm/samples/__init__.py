"""From a row of the manifest to a sample, and from samples to a batch."""
