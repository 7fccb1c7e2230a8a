"""What `hivebus agent` writes into a project: instructions for a language model, and its leave to run `hivebus`."""
