"""`moorage completion`: prints the script that teaches a shell to complete `moorage` commands."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

SHELLS: Final = ("bash", "zsh", "fish")


@click.command(name="completion")
@click.argument("shell", type=click.Choice(SHELLS))
def command(shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash   moorage completion bash > ~/.local/share/bash-completion/completions/moorage
    zsh    moorage completion zsh > "${fpath[1]}/_moorage"
    fish   moorage completion fish > ~/.config/fish/completions/moorage.fish
    """
    from moorage.cli.app import command as root

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, "moorage", "_MOORAGE_COMPLETE").source())
