"""The local API: what a running node tells the other commands of its user, over a unix socket.

A line of JSON each way, as often as one likes on a connection::

    {"method": "status", "params": {}}        params may be left out
    {"result": {…}}                           or {"error": {"code": "…", "message": "…"}}

The socket has mode 0600, and asks the kernel who is at the other end.
"""

from __future__ import annotations
