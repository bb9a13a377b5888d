"""The commands that fit Palaver into a system, as Click sees them."""

import click

SHELLS = ("bash", "zsh", "fish")


@click.command()
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> int:
    """Print a script with which a shell completes our commands.

    Conversations and models are completed too.

    \b
    eval "$(palaver completion bash)"             # in ~/.bashrc
    eval "$(palaver completion zsh)"              # in ~/.zshrc
    palaver completion fish > ~/.config/fish/completions/palaver.fish
    """
    from palaver.cli.completion import script

    return script(shell, ctx.find_root().command)


@click.command()
@click.pass_context
def man(ctx: click.Context) -> int:
    """Print the manual page.

    \b
    palaver man | man -l -
    palaver man > ~/.local/share/man/man1/palaver.1
    """
    from palaver.cli.manpage import page

    group = ctx.find_root().command
    assert isinstance(group, click.Group)
    click.echo(page(group), nl=False)
    return 0


COMMANDS = (completion, man)
