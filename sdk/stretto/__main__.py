"""Start the command line: `python -m stretto`, and the command `stretto`."""

from .cli import main

if __name__ == "__main__":
    main()
