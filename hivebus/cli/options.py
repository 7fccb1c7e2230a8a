"""How commands are declared: the options they share, the examples in their help, durations."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import click

from hivebus.cli.app import App

CommandFunction = Callable[..., Any]
Decorator = Callable[[CommandFunction], CommandFunction]
_KEPT = "hivebus.options"


def duration_type(*, lowest: float | None = None) -> Callable[[str | float], float]:
    """Return a click type for ``30s``, ``5m``, ``24h`` or seconds; *lowest* is the least that makes sense."""

    def duration(value: str | float) -> float:
        from hivebus.setting_rules import DURATION_RULE, seconds

        try:
            given = seconds(value)
        except ValueError:
            raise click.BadParameter(f"{value!r} {DURATION_RULE}") from None
        if lowest is not None and given < lowest:
            raise click.BadParameter(f"{value!r} must be at least {lowest:g} s")
        return given

    return duration


def command(
    name: str,
    *,
    examples: Sequence[str],
    bus: bool = True,
    namespace: Sequence[str] = ("--namespace", "-n"),
    cls: type[click.Command] = click.Command,
) -> Callable[[CommandFunction], click.Command]:
    """Declare a command: its function gets the `App` first, then its own parameters.

    Args:
        name: how it is called.
        examples: two command lines for its help.
        bus: whether it talks to a bus, and so has --url, --namespace and --agent.
        namespace: the names of that option, where -n means something else.
        cls: the class of the click command.
    """

    def declare(function: CommandFunction) -> click.Command:
        def call(*args: Any, **kwargs: Any) -> Any:
            return function(app_of(click.get_current_context()), *args, **kwargs)

        call.__doc__ = function.__doc__
        # Click reads the parameters of a function backwards, so what is shared comes first here and last in the help.
        together(*(bus_options(namespace) if bus else []), *output_options())(call)
        call.__click_params__ += getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
        return click.command(name, cls=cls, epilog=epilog(examples))(call)

    return declare


def group(name: str, *, examples: Sequence[str]) -> Callable[[CommandFunction], click.Group]:
    """Declare a command that has commands of its own."""
    return click.group(name, epilog=epilog(examples))


def together(*options: Decorator) -> Decorator:
    """Return several options as one decorator; help shows them in this order."""

    def declare(function: CommandFunction) -> CommandFunction:
        # Click shows last what is declared first.
        for option in reversed(options):
            function = option(function)
        return function

    return declare


def bus_options(namespace: Sequence[str] = ("--namespace", "-n")) -> list[Decorator]:
    """Return the options that say which bus, and who asks."""
    return [
        _shared("--url", metavar="URL", help="The server, such as redis://localhost:6379."),
        _shared(*namespace, metavar="NAME", help="Which bus on that server."),
        _shared("--agent", "-a", metavar="NAME", help="Who you are."),
    ]


def output_options() -> list[Decorator]:
    """Return the options that say how to answer."""
    return [
        _shared("--quiet", "-q", is_flag=True, help="No hints on stderr."),
        _shared("--json", "as_json", is_flag=True, help="One JSON document on stdout; errors as JSON too."),
    ]


def app_of(context: click.Context) -> App:
    """Return the `App` for the options given before and after the command; those after it win."""
    kept = context.meta.get(_KEPT, {})
    flags = {name: kept[name] for name in ("url", "namespace", "agent") if name in kept}
    return App(flags, as_json="as_json" in kept, quiet="quiet" in kept)


def epilog(examples: Sequence[str]) -> str:
    """Return the part of the help that shows how it is done."""
    # \b keeps click from filling the lines of a paragraph.
    return "\n".join(["\b", "Examples:", *(f"  {example}" for example in examples)])


def _shared(*names: str, **attributes: Any) -> Decorator:
    return click.option(*names, expose_value=False, callback=_keep, **attributes)


def _keep(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    # `meta` is shared by a command and the groups around it, so an option may stand before or after its name.
    if value is not None and value is not False:
        context.meta.setdefault(_KEPT, {})[parameter.name] = value
