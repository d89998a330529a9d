"""The demonstration: two people behind NATs, on the simulated internet and in virtual time.

It is a list of scenes (`carrick.cli.demo.scenes`), played on one `Stage`. Every line that is shown
was observed. Then two nodes do the same on this machine's own sockets.
"""

from __future__ import annotations

from carrick.cli.demo.show import DEFAULT_PAGE, DEFAULT_SIZE, Options, show

__all__ = ["DEFAULT_PAGE", "DEFAULT_SIZE", "Options", "show"]
