"""The phone-synchronous bridge: everything between CTC posteriors and the language model."""
