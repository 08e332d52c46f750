"""The web demo: one page on this machine that removes the reflection from a photo."""
