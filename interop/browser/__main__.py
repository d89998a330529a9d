"""``python -m interop.browser``: bundle the page that the browser tests open."""

from __future__ import annotations

import sys

from interop.browser.chromium import BrowserMissing, build_page

try:
    print(build_page())
except BrowserMissing as missing:
    sys.exit(f"skipped: {missing}")
