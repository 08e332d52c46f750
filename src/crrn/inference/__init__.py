"""Removers at work outside of training: photos of any size, and networks for other programs."""
