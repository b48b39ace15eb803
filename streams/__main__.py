"""``python -m streams`` is ``callstream``."""

from streams.cli import main

if __name__ == "__main__":
    main()
