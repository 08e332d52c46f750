"""The commands. Each composes its config, builds the objects that the config names, and runs them."""
