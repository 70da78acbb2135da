"""ESPnet tasks: everything that turns a configuration into models, data and batches."""
