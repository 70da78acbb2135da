"""The language model side: backbone, prefix cache, splice, and the model that joins them."""
