"""``python -m crrn``: the command ``crrn``."""

from crrn.cli.main import main

if __name__ == "__main__":
    main()
