"""Opens the page of js-libp2p in a headless Chromium, and returns what it found.

The page is bundled once: `python -m interop.browser` does it, which needs npm and its registry.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import queue
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trio

from interop.peers.build import cache_root

__all__ = ["BrowserMissing", "build_page", "find_browser", "find_page", "visit"]

HERE = Path(__file__).parent
_SOURCES = ("package.json", "page.mjs")
_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_LARGEST_RESULT = 1 << 20  # bytes


class BrowserMissing(Exception):
    """No Chromium, or no bundled page; the message says what to do."""


def find_browser() -> str:
    """The Chromium of this machine, or `$CARRICK_CHROMIUM`.

    Raises:
        BrowserMissing: there is none.
    """
    names = [os.environ.get("CARRICK_CHROMIUM", ""), *_NAMES]
    found = next((path for name in names if name and (path := shutil.which(name))), None)
    if found is None:
        raise BrowserMissing("no Chromium: install the package `chromium`, or set CARRICK_CHROMIUM")
    return found


def _folder() -> Path:
    digest = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in _SOURCES))
    return cache_root() / f"browser-{digest.hexdigest()[:12]}"


def find_page() -> Path:
    """The bundled page.

    Raises:
        BrowserMissing: it was not built.
    """
    page = _folder() / "page.js"
    if not page.exists():
        raise BrowserMissing("the page is not built: run `python -m interop.browser`")
    return page


def build_page() -> Path:
    """Bundle the page, unless that was done.

    Raises:
        BrowserMissing: there is no npm.
        subprocess.CalledProcessError: the build failed.
    """
    with contextlib.suppress(BrowserMissing):
        return find_page()
    npm = shutil.which("npm")
    if npm is None:
        raise BrowserMissing("no npm")
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    for name in _SOURCES:
        shutil.copy(HERE / name, folder)
    install = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"]
    subprocess.run(install, cwd=folder, check=True)
    bundle = ["page.mjs", "--bundle", "--format=esm", "--outfile=page.js.new", "--log-level=error"]
    subprocess.run([folder / "node_modules/.bin/esbuild", *bundle], cwd=folder, check=True)
    (folder / "page.js.new").rename(folder / "page.js")
    return folder / "page.js"


async def visit(timeout: float = 30, **parameters: str | int) -> dict[str, Any]:
    """Have the page do its work; what it reports, with `error` if it failed.

    Args:
        timeout: seconds for all of it.
        parameters: `address`, `transport` (`ws` or `webtransport`), `upload` and `download` in
            bytes.

    Raises:
        BrowserMissing: no Chromium, or no page.
        trio.TooSlowError: nothing came back in time.
    """
    browser, page = find_browser(), find_page()
    folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)  # it may still be writing
    with _serving(page) as (url, results), folder as profile:
        command = [
            browser,
            "--headless=new",
            "--no-sandbox",  # its sandbox needs rights that a container lacks; the page is ours
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",  # it calls home otherwise
            f"--user-data-dir={profile}",
            f"{url}/?{urllib.parse.urlencode(parameters)}",
        ]
        with trio.fail_after(timeout):
            async with trio.open_nursery() as nursery:
                quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
                await nursery.start(
                    lambda **k: trio.run_process(command, check=False, **quiet, **k)
                )
                result = await trio.to_thread.run_sync(results.get, abandon_on_cancel=True)
                nursery.cancel_scope.cancel()
    return result


@contextlib.contextmanager
def _serving(page: Path) -> Iterator[tuple[str, queue.Queue[dict[str, Any]]]]:
    """A web server on loopback, which browsers take for a secure context, and what it is told."""
    results: queue.Queue[dict[str, Any]] = queue.Queue()
    html = b"<!doctype html><script type=module src=/page.js></script>"

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            script = self.path == "/page.js"
            self._answer(page.read_bytes() if script else html, "javascript" if script else "html")

        def do_POST(self) -> None:
            size = min(int(self.headers["Content-Length"]), _LARGEST_RESULT)
            results.put(json.loads(self.rfile.read(size)))
            self._answer(b"", "plain")

        def _answer(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"text/{kind}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", results
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
