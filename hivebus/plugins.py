"""Finds plugins and asks them; the only file that talks to pluggy.

Every bus has a manager of its own. Built-ins are found like everybody else's plugins, through the
entry-point group ``hivebus``; a broken one is reported by name and the others go on.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import metadata
from typing import Any

import pluggy

from hivebus import hookspecs, plugin_index
from hivebus.codec import Codec, JsonCodec
from hivebus.errors import ConfigError
from hivebus.middleware import HandleMiddleware, SendMiddleware
from hivebus.plugin_index import Command, Found, Index
from hivebus.settings import leg_of
from hivebus.transport import Endpoint, Publisher, Scheme

GROUP = "hivebus"
_log = logging.getLogger(__name__)


class Plugins:
    """The plugins of one bus.

    Args:
        extra: plugin objects to register besides the installed ones; they win.
        installed: whether to load what is installed, through the cached index.
    """

    def __init__(self, extra: Sequence[object] = (), *, installed: bool = True) -> None:
        self._manager = pluggy.PluginManager(GROUP)
        self._manager.add_hookspecs(hookspecs)
        self.found: list[Found] = []
        if installed:
            for each in plugin_index.read(rebuild=build_index).plugins:
                self.found.append(self.load(each))
        for plugin in extra:
            self._register(plugin)

    @cached_property
    def schemes(self) -> dict[str, Scheme]:
        """The URL schemes that are served, by name."""
        schemes: dict[str, Scheme] = {}
        # pluggy calls the last registered first, so the first to name a scheme wins.
        self._manager.hook.register_transports(register=lambda scheme: schemes.setdefault(scheme.name, scheme))
        return schemes

    def transport(self, endpoint: Endpoint) -> Publisher:
        """Return the transport for the scheme of the URL, or the one that joins it to the legacy one; not connected."""
        if endpoint.legacy_url is None:
            return self._single(endpoint)
        return self._single(replace(endpoint, url="dualwrite://", legs=self.legs(endpoint)))

    def legs(self, endpoint: Endpoint) -> dict[str, Publisher]:
        """Return both transports of *endpoint* by the names of their legs, the one to move to first; not connected."""
        assert endpoint.legacy_url is not None
        alone = replace(endpoint, legacy_url=None)
        legs = {leg_of(url): self._single(replace(alone, url=url)) for url in (endpoint.url, endpoint.legacy_url)}
        if len(legs) < len((endpoint.url, endpoint.legacy_url)):
            raise ConfigError(
                f"url and legacy_url are both {leg_of(endpoint.url)}: there is nothing to compare",
                hint="set legacy_url to the transport that is being left, such as tmux://agent-hive",
            )
        return legs

    def _single(self, endpoint: Endpoint) -> Publisher:
        name = endpoint.url.partition("://")[0]
        scheme = self.schemes.get(name)
        if scheme is None:
            raise unknown_scheme(endpoint.url, sorted(self.schemes))
        factory = plugin_index.load(scheme.transport)
        made: Publisher = factory(endpoint)
        return made

    def codec(self, *, limit: int) -> Codec:
        """Return the codec with every registered one around the canonical JSON."""
        wraps: list[Callable[[Codec], Codec]] = []
        self._manager.hook.register_codecs(register=wraps.append)
        codec: Codec = JsonCodec(limit=limit)
        for wrap in wraps:
            codec = wrap(codec)
        return codec

    def middleware(self) -> tuple[list[SendMiddleware], list[HandleMiddleware]]:
        """Return the layers around sending and around handling, outermost first."""
        sends: list[SendMiddleware] = []
        handles: list[HandleMiddleware] = []

        def register(*, send: SendMiddleware | None = None, handle: HandleMiddleware | None = None) -> None:
            sends.extend([send] if send else [])
            handles.extend([handle] if handle else [])

        self._manager.hook.register_middleware(register=register)
        return sends, handles

    def commands(self) -> list[Command]:
        """Return the commands that plugins add."""
        commands: list[Command] = []

        def register(name: str, target: str, *, summary: str) -> None:
            commands.append(Command(name=name, target=target, summary=summary))

        self._manager.hook.register_commands(register=register)
        return commands

    def alters_messages(self) -> bool:
        """Tell whether a codec or middleware wants to see messages on their way out."""
        hook = self._manager.hook
        return bool(hook.register_codecs.get_hookimpls() or hook.register_middleware.get_hookimpls())

    def observes(self, hook: str) -> bool:
        """Tell whether anybody implements the observer *hook*, so that nobody gathers facts for nobody."""
        return bool(getattr(self._manager.hook, hook).get_hookimpls())

    def observe(self, hook: str, facts: Sequence[Any]) -> None:
        """Tell every observer; one that raises is logged, and the others are told all the same."""
        for implementation in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                # pluggy's own call stops at the first exception, so each is called by itself.
                implementation.function(*([facts] if implementation.argnames else []))
            except Exception:  # noqa: BLE001 - an observer is a guest: it must not harm delivery
                _log.exception("an observer raised", extra={"plugin": implementation.plugin_name, "hook": hook})

    def choose_legs(self, message: Any, legs: Sequence[str]) -> Sequence[str] | None:
        """Return the legs that a plugin chose for the message, or None when none cared."""
        chosen: Sequence[str] | None = self._manager.hook.choose_legs(message=message, legs=legs)
        return chosen

    def load(self, found: Found) -> Found:
        """Import and register an installed plugin; return it, with the reason if it cannot be used."""
        try:
            self._register(importlib.import_module(found.module), name=found.name)
        except Exception as error:  # noqa: BLE001 - a broken plugin must not take the others with it
            _log.warning("a plugin could not be loaded", extra={"plugin": found.name, "error": str(error)})
            return found.broken(error)
        return found

    def _register(self, plugin: object, *, name: str | None = None) -> None:
        try:
            self._manager.register(plugin, name=name)
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            if self._manager.is_registered(plugin):
                self._manager.unregister(plugin)
            raise ConfigError(
                f"plugin {name or plugin!r} does not fit the hooks: {error}",
                hint="hivebus.hookspecs lists every hook",
            ) from error


def build_index() -> Index:
    """Scan the entry points and ask each plugin once; what `hivebus.plugin_index` keeps in a file."""
    found = [
        Found(name=entry.name, module=entry.value, version=entry.dist.version if entry.dist else "", error=None)
        for entry in metadata.entry_points(group=GROUP)
    ]
    plugins = Plugins(installed=False)
    checked = [plugins.load(each) for each in sorted(set(found), key=lambda each: each.name)]
    return Index(
        plugins=checked,
        schemes=[scheme for scheme in plugins.schemes.values() if isinstance(scheme.transport, str)],
        commands=plugins.commands(),
        alters_messages=plugins.alters_messages(),
    )


def unknown_scheme(url: str, installed: Sequence[str]) -> ConfigError:
    """Return the error for a URL that no plugin serves."""
    name = url.partition("://")[0]
    return ConfigError(
        f"no transport called {name!r}; installed: {', '.join(installed)}",
        cause="the URL is misspelt, or its plugin is not installed in this environment",
        hint="hivebus transports",
    )
