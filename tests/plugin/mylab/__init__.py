"""A stranger's package: what it adds to crrn, one file each. The tests install it and drive it through all commands."""
