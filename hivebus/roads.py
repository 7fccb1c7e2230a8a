"""Both transports of a migration, for plugins that work on them one by one instead of through a bus."""

from __future__ import annotations

from collections.abc import Mapping

from hivebus.errors import ConfigError
from hivebus.plugins import Plugins
from hivebus.settings import Settings
from hivebus.transport import Publisher


def open_roads(settings: Settings) -> Mapping[str, Publisher]:
    """Return the transports by the names of their legs, not connected: the one to move to, then the one that is left.

    Blocks where the embedded server has to be started.

    Raises:
        ConfigError: there is no second transport, or a URL is wrong.
    """
    if settings.legacy_url is None:
        raise ConfigError(
            "there is one road only: no legacy_url is set",
            cause="messages travel two roads while agents are moved from one transport to another",
            hint="export HIVEBUS_LEGACY_URL=tmux://agent-hive, or set legacy_url in .hivebus.toml",
        )
    return Plugins().legs(settings.endpoint())
