r"""Shell lines for copying: look at a path in a sandbox, pack it, and unpack an archive there.

Each line is POSIX shell and runs in ``/``. All paths are relative to it: ``./workspace/a b``. So a name is never taken
for an option. ``$p`` is the path of the caller, ``$s`` a directory of this library in ``/tmp``. These and the other
variables are set before the line, quoted.

An archive is a tar.gz. In a sandbox it is in ``$s``, as files ``$tag.00000000``, ``$tag.00000001``, …, which are read
in this order as one stream. So gzip checks the complete archive, whether it came through storage or through commands.
The platform leaves a copy of each pulled archive in ``/tmp``. ``$tag``, which is unique, identifies that copy.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from pocketenv_fp.sandbox.commands.quoting import quote

__all__ = [
    "INCOMPLETE",
    "IN_THE_WAY",
    "LOOK",
    "NO_TOOL",
    "PACK",
    "PIECE",
    "PLACE",
    "READ",
    "REMOVE",
    "REMOVE_LATE",
    "STAGE",
    "with_variables",
]

INCOMPLETE = 93
IN_THE_WAY = 94
NO_TOOL = 95

_TOOLS = f"""for tool in tar gzip base64; do
  command -v "$tool" >/dev/null 2>&1 || {{ printf %s "$tool" >&2; exit {NO_TOOL}; }}
done
"""
_SOURCE = f"""if [ -d "$p" ]; then kind=directory from=$p entry=. follow=
elif [ -f "$p" ]; then kind=file from=${{p%/*}} entry=./${{p##*/}} follow=h
elif [ -e "$p" ]; then echo other; exit
else echo nothing; exit; fi
{_TOOLS}umask 077
mkdir "$s" || exit 1
"""
# GNU tar reads a backslash in a name as an escape. Its exit code 1 means that a file changed while it was read. The
# archive is complete then.
_PACK = f"""{_SOURCE}raw=
case $(tar --version 2>/dev/null) in *GNU*) raw=--no-unquote ;; esac
{{ (cd "$from" && tar $raw -c${{follow}}zf - "$entry") 2>"$s/err"; echo $? >"$s/code"; }} | head -c "$((most + 1))" >"$s/$tag.0"
size=$(wc -c <"$s/$tag.0") code=$(cat "$s/code")
if [ "$size" -le "$most" ] && [ "$code" -gt 1 ]; then
  cat "$s/err" >&2
  rm -rf "$s"
  exit "$code"
fi
rm -f "$s/err" "$s/code"
"""

LOOK = f"""{_PACK}if [ "$size" -le "$most" ]; then
  echo "$kind whole"
  base64 <"$s/$tag.0"
  rm -rf "$s"
else
  echo "$kind large"
  rm -f "$s/$tag.0"
fi"""
"""Print the kind of ``$p``, and its archive if that has at most ``$most`` bytes. Otherwise ``$s`` is left."""

# tar follows a symlink to its starting directory, so nothing is copied. It does not follow a symlink to a file.
STAGE = """if [ -d "$p" ]; then
  place=$(cd "$p" && pwd -P && echo .) && ln -s "${place%??}" "$s/it" || exit 1
  if [ "$(id -u)" != 0 ]; then
    closed=$(find "$s/it/" ! -type l ! -readable -print -quit 2>/dev/null)
    [ -z "$closed" ] || { echo "cannot be read: ${closed#"$s/it/"}" >&2; exit 1; }
  fi
else
  mkdir "$s/it" || exit 1
  { [ ! -h "$p" ] && ln "$p" "$s/it/file" 2>/dev/null; } || cp -p "$p" "$s/it/file" || exit 1
fi"""
"""Create ``$s/it``. From there the platform can pack ``$p``, with a name that needs no quoting."""

PACK = f"""rm -rf "$s"
{_PACK}echo "$kind $((size))\""""
"""Pack ``$p`` into ``$s/$tag.0``, at most ``$most`` bytes plus one. Print the kind and the size in bytes."""

READ = 'tail -c "+$((offset + 1))" "$s/$tag.0" | head -c "$size" | base64'
# Remove the platform's own copy of the pulled archive, but not the directory that a line is working in.
_OTHERS = """for e in ./tmp/*/"$tag".*; do
  if [ -e "$e" ] && [ "${e%/*}" != "$work" ]; then rm -rf "${e%/*}"; fi
done"""
REMOVE = f'work=$s-\nrm -rf "$s"\n{_OTHERS}'
# The response of a request may be lost while the request still runs. It may create files after the removal.
REMOVE_LATE = f"""{REMOVE}
(n=0; while [ $n -lt 60 ]; do
sleep 1; n=$((n+1))
{REMOVE}
done) >/dev/null 2>&1 </dev/null &"""

PIECE = f"""{_TOOLS}umask 077
mkdir -p "$s" || exit 1
if [ ! -e "$s/$tag.$number" ]; then
  printf %s "$data" | base64 -d >"$s/.$$" && mv "$s/.$$" "$s/$tag.$number" || exit 1
fi
wc -c <"$s/$tag.$number\""""
"""Write the piece ``$number`` if it does not exist, and print its size. It can be repeated."""

# Remove symlinks top down, so that no symlink is followed to its content.
_NO_LINKS = """find . -exec sh -c 'for e; do if [ -h "$0/$e" ]; then rm -f "$0/$e" || exit 1; fi; done' "$goal" {} +"""

# The directory $work belongs to one line: the move happens once, and that line removes the directory.
PLACE = f"""{_TOOLS}work=$s-
if [ -n "$data" ]; then
  mkdir -p "$s" && printf %s "$data" | base64 -d >"$s/$tag.9" || exit 1
fi
mv "$s" "$work" 2>/dev/null || exit {INCOMPLETE}
is_there() {{ [ -e "$1" ] || [ -h "$1" ]; }}
make() {{
  mkdir -p "$1" 2>/dev/null && return
  above=$1
  until is_there "$above"; do above=${{above%/*}}; done
  [ -d "$above" ] || return {IN_THE_WAY}
  mkdir -p "$1"
}}
place_directory() {{
  if [ ! -d "$p" ]; then
    if is_there "$p"; then return {IN_THE_WAY}; fi
    make "${{p%/*}}" || return
    mv "$work/new" "$p" 2>/dev/null || cp -a "$work/new" "$p"
    return
  fi
  goal=$(cd "$p" && pwd -P && echo .) || return
  goal=${{goal%??}}
  (cd "$work/new" && {_NO_LINKS}) || return
  for e in "$work/new"/* "$work/new"/.[!.]* "$work/new"/..?*; do
    is_there "$e" || continue
    if is_there "$p/${{e##*/}}" || ! mv "$e" "$p/" 2>/dev/null; then cp -af "$e" "$p/" || return; fi
  done
}}
place_file() {{
  for e in "$work/new"/* "$work/new"/.[!.]* "$work/new"/..?*; do
    if is_there "$e"; then file=$e; fi
  done
  if [ -d "$p" ] || [ -n "$into" ]; then make "$p" || return; p=$p/${{file##*/}}; fi
  make "${{p%/*}}" || return
  if [ -h "$p" ]; then rm -f "$p" || return; fi
  if [ -d "$p" ]; then return {IN_THE_WAY}; fi
  mv -f "$file" "$p"
}}
arrive() {{
  set -- "$work"/*
  [ -e "$1" ] || return {INCOMPLETE}
{_OTHERS}
  mkdir "$work/new" || return
  cat "$@" | tar -xpzof - -C "$work/new" || return
  "place_$kind"
}}
arrive
code=$?
rm -rf "$work" 2>/dev/null || {{ chmod -R u+rwX "$work"; rm -rf "$work"; }}
exit "$code\""""
"""Unpack the archive in ``$s``, followed by ``$data``, and move its content to ``$p``. ``$s`` is removed.

The target does not change before the complete archive is checked.
"""


_BYTE = re.compile("[\udc80-\udcff]")


def with_variables(line: str, variables: Mapping[str, str | int]) -> str:
    """Return the line with assignments of its variables before it.

    A byte that is no UTF-8 is in a value as half of a surrogate pair, as in Python's names of files.
    """
    lines = list[str]()
    for name, variable in variables.items():
        value = str(variable)
        lines.append(_decoding(name, value) if _BYTE.search(value) else f"{name}={quote(value)}")
    return "\n".join([*lines, line])


def _decoding(name: str, value: str) -> str:
    octal = "".join(f"\\0{byte:03o}" for byte in value.encode("utf-8", "surrogateescape"))
    # A shell drops the last newlines of $( ).
    return f"{name}=$(printf %b '{octal}.') {name}=${{{name}%.}}"
