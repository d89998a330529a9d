"""``python -m interop``"""

from __future__ import annotations

from interop.runner.cli import main

if __name__ == "__main__":
    main(prog_name="python -m interop")
