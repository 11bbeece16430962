"""`python -m helpers`: the command line of the course."""

from helpers.cli import main

if __name__ == "__main__":
    main()
