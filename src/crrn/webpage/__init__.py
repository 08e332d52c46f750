"""The web page: one page on this machine that removes the reflection from a photo."""
