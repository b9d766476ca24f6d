"""python -m searchmerge: the command line."""

from searchmerge.cli import main

if __name__ == "__main__":
    main()
