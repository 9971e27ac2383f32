"""``python -m tvmkd``: the command line, as ``torchrun -m tvmkd`` needs it."""

from __future__ import annotations

from tvmkd.cli import main

if __name__ == "__main__":
    main()
