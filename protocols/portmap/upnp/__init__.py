"""UPnP Internet Gateway Device, versions 1 and 2: find it, read its description, ask it."""
