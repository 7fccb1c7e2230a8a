"""The line that says which server is used when nobody chose one.

Two programs with different settings are on two buses, and this line is how people notice.
"""

from __future__ import annotations

from hivebus import plugin_index
from hivebus.settings import Settings


def default_server(settings: Settings) -> str:
    """Return the line for these settings, without connecting."""
    scheme = plugin_index.read().scheme(settings.url)
    place = ""
    if scheme is not None and scheme.where is not None:
        place = f" ({plugin_index.load(scheme.where)(settings.endpoint())})"
    return f"hivebus: no URL configured, using the embedded server of namespace {settings.namespace}{place}"
