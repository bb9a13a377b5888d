"""What a shell's completion asks for: scripts for it, ids of conversations, names of models.

A person waits for each answer with a finger on the Tab key, so the service is not opened: that
takes longer than they wait. Whatever goes wrong, completion says nothing.
"""

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from palaver.cli import exits

if TYPE_CHECKING:
    import click

VARIABLE = "_PALAVER_COMPLETE"
NEWEST = 30
SHOWN = 50
"""Characters of a title."""
BUSY_MS = 50
MODELS_FILE = "models-{version}.txt"
"""In the data folder: reading the price table takes half a second, this takes nothing."""

# Click's own, but for the colon: bash takes it for the end of a word, and models have one.
BASH = """\
_palaver_completion() {
    local IFS=$'\\n' i word current response value before=""
    local -a words=()
    for ((i = 0; i <= COMP_CWORD; i++)); do
        word="${COMP_WORDS[i]}"
        if ((${#words[@]} > 1)) && [[ $word == :* || ${words[-1]} == *: ]]; then
            words[-1]+="$word"
        else
            words+=("$word")
        fi
    done
    current="${words[-1]}"
    [[ $current == *:* ]] && before="${current%"${current##*:}"}"
    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) \\
        _PALAVER_COMPLETE=bash_complete "$1" 2>/dev/null)
    COMPREPLY=()
    for word in $response; do
        value="${word#*,}"
        case "${word%%,*}" in
            dir) compopt -o dirnames ;;
            file) compopt -o default ;;
            plain) COMPREPLY+=("${value#"$before"}") ;;
        esac
    done
}
complete -o nosort -F _palaver_completion palaver"""


def script(shell: str, cli: "click.Command") -> int:
    """Print the script that makes `shell` complete the commands of `cli`."""
    import click
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    assert kind is not None
    maker = kind(cli, {}, "palaver", VARIABLE)
    click.echo(BASH if shell == "bash" else maker.source())
    return exits.OK


def home() -> Path:
    """The data folder, as `wiring` finds it, without what wiring imports."""
    if given := os.environ.get("PALAVER_HOME"):
        return Path(given).expanduser()
    import platformdirs

    return Path(platformdirs.user_data_dir("palaver", appauthor=False))


# Conversations.


def conversations(given: str, *, db: str | None) -> list[tuple[str, str]]:
    """The newest conversations whose id ends or begins with `given`, each with its title."""
    with suppress(Exception):
        every = [("last", "the newest"), *_newest(Path(db) if db else home() / "palaver.db")]
        return [(id, about) for id, about in every if not given or id.startswith(given)]
    return []


def _newest(file: Path) -> list[tuple[str, str]]:
    import apsw

    if not file.is_file():
        return []
    connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
    try:
        connection.set_busy_timeout(BUSY_MS)
        rows = connection.execute(
            "SELECT id, coalesce(nullif(json_extract(CAST(metadata AS TEXT), '$.title'), ''),"
            " preview) FROM conversations WHERE archived = 0 ORDER BY updated_at DESC LIMIT ?",
            (NEWEST,),
        ).fetchall()
    finally:
        connection.close()
    return [(str(id)[-8:], _short(str(about))) for id, about in rows]


def _short(about: str) -> str:
    from palaver.cli.safe import one_line

    return one_line(about, SHOWN)


# Models.


def models(given: str) -> list[str]:
    """Known models with `given` in their name. The first time takes a second, later ones do not."""
    with suppress(Exception):
        return [name for name in _known() if name.startswith(given) or (given and given in name)]
    return []


def _known() -> list[str]:
    from palaver import __version__

    file = home() / MODELS_FILE.format(version=__version__)
    with suppress(OSError):
        if names := file.read_text(encoding="utf-8").split():
            return names
    names = _listed()
    with suppress(OSError):
        if file.parent.is_dir():
            file.write_text("\n".join(names) + "\n", encoding="utf-8")
    return names


def _listed() -> list[str]:
    from palaver.providers import catalogue

    providers = ("offline", "anthropic", "openai")
    return [info.name for provider in providers for info in catalogue.known(provider)]
