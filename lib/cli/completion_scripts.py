r"""The scripts that complete a command on the Tab key, for bash, zsh and fish.

They start no Python: commands and options are written into them, and versions are the names of the
files beside ./migrate. Such a name is offered only if it is made of a-z, 0-9 and hyphens, so that
nothing in it can mean something to a shell.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

# What a value is; one of any other kind cannot be completed.
Kind = Literal["version", "file", "folder", "choice", "other"]


@dataclass(frozen=True)
class Value:
    """What follows an option, or is an argument: one word, or many."""

    kind: Kind
    label: str
    choices: tuple[str, ...] = ()
    is_many: bool = False


@dataclass(frozen=True)
class Option:
    """An option by all its names. `excluded` may not stand beside it, itself included."""

    names: tuple[str, ...]
    about: str
    value: Value | None
    excluded: tuple[str, ...]


@dataclass(frozen=True)
class Command:
    """A command by all its names. With `passes_on`, all arguments are those of another program."""

    names: tuple[str, ...]
    about: str
    options: tuple[Option, ...]
    argument: Value | None
    passes_on: bool


# The syntax is that of bash 3.2, which macOS has. Where nothing is offered, `-o default` completes
# file names, and quotes them. In the folder that the package bash-completion reads, the first Tab
# would only load the script.
_BASH = r"""# Completion of ./migrate for bash. Save this as the file
#   ~/.migrate-completion.bash
# and have in ~/.bashrc:
#   source ~/.migrate-completion.bash
# After an update of the bundle, save it again.

# Set `kind` to what follows an option of a command, or to what its argument is.
_migrate_kind() {
  kind=
  case "$1 $2" in
@KINDS@
  esac
}

_migrate_options() {
  options=
  case $1 in
@OPTIONS@
  esac
}

# Offer those of the words that continue what is typed.
_migrate_offer() {
  local each
  for each in "$@"; do
    case $each in "$word"*) COMPREPLY+=("$before$each") ;; esac
  done
}

# Offer the versions: the names of the files in the folder of the project of ./migrate.
_migrate_versions() {
  local LC_ALL=C script=${COMP_WORDS[0]} found folder name path
  case $script in
    */*) ;;
    *)
      found=$(alias "$script" 2>/dev/null)
      found=${found#*=}
      found=${found//\'/}
      case $found in */*) script=$found ;; *) script=$(type -P "$script") ;; esac
      ;;
  esac
  # As it is typed, with a backslash before each blank and the like. Bash does not complete behind
  # a command in quotes.
  script=${script//\\/}
  case $script in \~/*) script=$HOME/${script#??} ;; esac
  # Not for links in a circle.
  [ -f "$script" ] || return
  while [ -L "$script" ]; do
    found=$(readlink "$script")
    case $found in /*) script=$found ;; *) script=${script%/*}/$found ;; esac
  done
  folder=${MIGRATIONS_DIR:-migrations}
  case $folder in /*) ;; *) folder=${script%/*}/$folder ;; esac
  for path in "$folder"/[0-9][0-9][0-9]*.sql; do
    name=${path##*/}
    name=${name%.sql}
    case $name in *[!a-z0-9-]*) ;; *) _migrate_offer "$name" ;; esac
  done
}

_migrate() {
  local word=$2 before='' command='' option='' place=0 kind='' options='' each i
  local IFS=$' \t\n'
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    each=${COMP_WORDS[i]}
    case $each in
      # Readline makes a word of it, as in --to = 004.
      =) continue ;;
      --*=*) option='' && continue ;;
      -*) option=$each && continue ;;
    esac
    if [ -z "$command" ]; then
      command=$each option=''
      continue
    fi
    _migrate_kind "$command" "$option"
    case $option-$kind in
      ?*-?*' many') ;;
      ?*-?*) option='' ;;
      *) option='' place=1 ;;
    esac
  done
  if [ -z "$command" ]; then
    _migrate_offer @COMMANDS@
    compopt +o default 2>/dev/null
    return
  fi
  case $word in
    =) word='' ;;
    --*=*) option=${word%%=*} before=$option= word=${word#*=} ;;
  esac
  _migrate_kind "$command" "$option"
  if [ -z "$kind" ] && [ -n "$option" ]; then
    option=''
    _migrate_kind "$command" ''
  fi
  case $kind in 'file many') return ;; esac
  # After the last argument, and after a hyphen, only options can follow.
  case "$option$place $kind" in '1 '*' many') ;; '1 '*) kind='' ;; esac
  case $word in -*) kind='' ;; esac
  case $kind in
    file*) return ;;
    folder*) compopt +o default -o dirnames 2>/dev/null && return ;;
    version*) _migrate_versions ;;
    '')
      _migrate_options "$command"
      _migrate_offer $options
      ;;
    other*) ;;
    *) _migrate_offer $kind ;;
  esac
  compopt +o default 2>/dev/null
}

complete -o default -F _migrate migrate
"""

_ZSH = r"""#compdef migrate
# Completion of ./migrate for zsh. Save this as the file
#   ~/.zfunc/_migrate
# and have in ~/.zshrc, before compinit is called (if nothing calls it, these two lines):
#   fpath=(~/.zfunc $fpath)
#   autoload -Uz compinit && compinit
# After an update of the bundle, save it again.

# Offer the versions: the names of the files in the folder of the project of ./migrate.
_migrate_versions() {
  emulate -L zsh
  setopt extended_glob
  local folder=${MIGRATIONS_DIR:-migrations}
  [[ $script == */* ]] || script=$commands[$script]
  [[ $script == '~/'* ]] && script=$HOME/${script#'~/'}
  [[ -f $script ]] || return 1
  [[ $folder == /* ]] || folder=${script:A:h}/$folder
  local -a versions=($folder/[0-9][0-9][0-9]*.sql(N:t:r))
  versions=(${(M)versions:#[a-z0-9-]##})
  compadd "$@" -a versions
}

_migrate() {
  local script=${(Q)words[1]} curcontext=$curcontext context state state_descr line
  local -A opt_args
  local -a every
  every=(
@COMMANDS@
  )
  _arguments -C \
@OPTIONS@
    '1: :->command' '*:: :->rest'
  case $state in
    command) _describe -t commands command every ;;
    rest)
      case $words[1] in
@CASES@
      esac
      ;;
  esac
}

# Called where zsh has loaded the file by itself; read by `source`, the file only registers it.
if [[ $funcstack[1] == _migrate ]]; then _migrate "$@"; else compdef _migrate migrate; fi
"""

# Not in fish's folder of completions, which fish reads only for a command that is on PATH.
_FISH = r"""# Completion of ./migrate for fish. Save this as the file
#   ~/.config/fish/conf.d/migrate.fish
# After an update of the bundle, save it again.

# True if the command is one of the arguments; without arguments, if none is typed yet.
function __migrate_command
    set -l words (commandline -opc)
    for word in $words[2..-1]
        string match -q -- '-*' $word; and continue
        contains -- $word $argv
        return
    end
    test (count $argv) -eq 0
end

# Print the versions: the names of the files in the folder of the project of ./migrate.
function __migrate_versions
    set -l script (commandline -opc)[1]
    if functions -q -- $script
        set script (functions -- $script | string replace -rf '^ *(\S*/\S*) \$argv;? *$' '$1')[1]
    else if not string match -q '*/*' -- $script
        set script (command -s -- $script)
    end
    set script (string replace -r '^~/' "$HOME/" -- $script)
    test -f "$script"; or return
    set -l folder migrations
    test -n "$MIGRATIONS_DIR"; and set folder $MIGRATIONS_DIR
    if not string match -q '/*' -- $folder
        set folder (string replace -r '[^/]*$' '' -- (builtin realpath -- $script))$folder
    end
    set -l paths $folder/*.sql
    string replace -rf '^.*/([0-9]{3,}-[a-z0-9-]+)\.sql$' '$1' -- $paths
end

complete -c migrate -f
@COMMANDS@
"""


def script(shell: str, program: Sequence[Option], commands: Sequence[Command]) -> str:
    """Make the script for a shell; `program` has the options that need no command."""
    return _SCRIPTS[shell](program, commands)


def _filled(template: str, **parts: str) -> str:
    for name, text in parts.items():
        template = template.replace(f"@{name}@", text)
    return template


def _names(options: Sequence[Option]) -> str:
    return " ".join(name for option in options for name in option.names)


def _bash(program: Sequence[Option], commands: Sequence[Command]) -> str:
    # By what is to be completed: the places where it is, each a command and an option.
    kinds: dict[str, list[str]] = defaultdict(list)
    for command in commands:
        for name, value in _places(command):
            kinds[_bash_kind(value)] += [f"'{each} {name}'" for each in command.names]
    return _filled(
        _BASH,
        COMMANDS=" ".join([*(name for each in commands for name in each.names), _names(program)]),
        KINDS="\n".join(f"    {' | '.join(at)}) kind='{kind}' ;;" for kind, at in kinds.items()),
        OPTIONS="\n".join(
            f"    {' | '.join(command.names)}) options='{_names(command.options)}' ;;"
            for command in commands
            if not command.passes_on
        ),
    )


def _places(command: Command) -> Iterator[tuple[str, Value]]:
    """Where a command has a value: behind an option, or, with an empty name, as its argument."""
    if command.passes_on:
        yield "", Value("file", "", is_many=True)
        return
    if command.argument:
        yield "", command.argument
    for option in command.options:
        if option.value:
            for name in option.names:
                yield name, option.value


def _bash_kind(value: Value) -> str:
    return f"{' '.join(value.choices) or value.kind}{' many' if value.is_many else ''}"


def _zsh(program: Sequence[Option], commands: Sequence[Command]) -> str:
    return _filled(
        _ZSH,
        COMMANDS="\n".join(
            f"    {_quoted(f'{name}:{command.about}')}"
            for command in commands
            for name in command.names
        ),
        OPTIONS="\n".join(
            f"    {_quoted(spec)} \\" for option in program for spec in _zsh_option(option)
        ),
        CASES="\n".join(map(_zsh_case, commands)),
    )


def _zsh_case(command: Command) -> str:
    names = " | ".join(command.names)
    if command.passes_on:
        return f"        {names}) _default ;;"
    specs = [spec for option in command.options for spec in _zsh_option(option)]
    if command.argument:
        sign = "*" if command.argument.is_many else "1"
        specs.append(f"{sign}:{_zsh_value(command.argument)}")
    lines = ["          _arguments", *(f"            {_quoted(spec)}" for spec in specs)]
    return f"        {names})\n" + " \\\n".join(lines) + "\n          ;;"


def _zsh_option(option: Option) -> Iterator[str]:
    about = re.sub(r"([\\\[\]:])", r"\\\1", option.about)
    value = f":{_zsh_value(option.value)}" if option.value else ""
    is_many = option.value and option.value.is_many
    for name in option.names:
        # The value is a word of its own, or follows behind = (behind `-n`, at once).
        sign = "" if is_many or not value else "=" if name.startswith("--") else "+"
        many = ":*" if is_many else ""
        yield f"({' '.join(option.excluded)}){name}{sign}[{about}]{many}{value}"


def _zsh_value(value: Value) -> str:
    actions = {"version": "_migrate_versions", "file": "_files", "folder": "_files -/"}
    # Without a choice, zsh still offers the options there; with no action it would not.
    action = actions.get(value.kind, f"({' '.join(value.choices)})")
    return f"{value.label}:{action}"


def _fish(program: Sequence[Option], commands: Sequence[Command]) -> str:
    lines = [_fish_option("__migrate_command", option) for option in program]
    return _filled(
        _FISH, COMMANDS="\n".join([*lines, *(line for each in commands for line in _fish_of(each))])
    )


def _fish_of(command: Command) -> Iterator[str]:
    for name in command.names:
        yield f"{_fish_at('__migrate_command')} -a {name} -d {_fish_quoted(command.about)}"
    inside = f"__migrate_command {' '.join(command.names)}"
    if command.passes_on:
        yield f"{_fish_at(inside)} -F"
        return
    if command.argument:
        yield f"{_fish_at(inside)}{_fish_value(command.argument)}"
    for option in command.options:
        yield _fish_option(inside, option)


def _fish_at(condition: str) -> str:
    return f"complete -c migrate -n {_fish_quoted(condition)}"


def _fish_option(condition: str, option: Option) -> str:
    names = "".join(
        f" -l {name[2:]}" if name.startswith("--") else f" -s {name[1:]}" for name in option.names
    )
    # Nothing but the value follows; no file either, unless the value is one.
    sign = " -r" if option.value and option.value.kind == "file" else " -x"
    value = f"{sign}{_fish_value(option.value)}" if option.value else ""
    return f"{_fish_at(condition)}{names} -d {_fish_quoted(option.about)}{value}"


def _fish_value(value: Value) -> str:
    if value.kind == "file":
        return " -F"
    sources = {
        "choice": " ".join(value.choices),
        "version": "(__migrate_versions)",
        "folder": "(__fish_complete_directories)",
    }
    return f" -a {_fish_quoted(sources[value.kind])}" if value.kind in sources else ""


def _quoted(text: str) -> str:
    """Quote a text for zsh."""
    return "'" + text.replace("'", "'\\''") + "'"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


_SCRIPTS: Mapping[str, Callable[[Sequence[Option], Sequence[Command]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}
