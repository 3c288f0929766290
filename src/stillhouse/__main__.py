"""``python -m stillhouse`` is the command ``stillhouse``."""

from stillhouse.cli import main

if __name__ == "__main__":
    main()
