"""The commands: each composes its config, builds what it names, runs, and closes."""
