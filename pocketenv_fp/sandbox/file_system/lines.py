r"""Shell lines that read, write and list files.

Each line is POSIX shell, runs in ``/``, and reaches the caller's path from there as ``$p``: ``./workspace/a b``. Its
first line of output is one word: what it did, or why it did nothing (`WRONG`).
"""

from __future__ import annotations

from pocketenv_fp.sandbox.copying.lines import NO_TOOL, STAGE

__all__ = ["COPY", "EXISTS", "LIST", "READ", "WRITE"]

# A path that is hidden by a directory without search permission may exist.
_PATH = """say() { echo "$1"; exit; }
is_closed() {
  d=$p
  while d=${d%/*}; [ "$d" != . ] && [ ! -e "$d" ]; do :; done
  [ -d "$d" ] && [ ! -x "$d" ]
}
"""
_MISSING = """if [ ! -e "$p" ]; then
  if is_closed; then say closed; fi
  say nothing
fi
"""


def _tools(*names: str) -> str:
    return f"""for tool in {" ".join(names)}; do
  command -v "$tool" >/dev/null 2>&1 || {{ printf %s "$tool" >&2; exit {NO_TOOL}; }}
done
"""


EXISTS = f"""{_PATH}[ -e "$p" ] && say yes
is_closed && say closed
say no"""
"""Print whether ``$p`` exists."""

READ = f"""{_PATH}{_MISSING}[ -d "$p" ] && say directory
[ -f "$p" ] || say other
[ -r "$p" ] || say closed
{_tools("base64", "head", "wc")}size=$(wc -c <"$p") || exit 1
if [ "$size" -le "$most" ]; then
  echo "whole $((size))"
  head -c "$size" "$p" | base64
  exit
fi
if [ "$stages" ]; then
umask 077
rm -rf "$s"
mkdir "$s" "$s/it" || exit 1
if [ ! -h "$p" ] && ln "$p" "$s/it/file" 2>/dev/null; then
  echo "large $((size)) linked"
  exit
fi
fi
echo "large $((size))\""""
"""Print ``$p``, up to ``$most`` bytes. With ``$stages``, a larger file is linked into ``$s`` if possible."""

COPY = f"""rm -rf "$s/it"
{STAGE}"""
"""Prepare ``$p`` in ``$s`` for the platform. It may take long."""

# Delete the content that came through storage, and the platform's own copy of it.
_SENT = """is_there() { [ -e "$1" ] || [ -h "$1" ]; }
clean() {
  rm -rf "$s"
  for e in ./tmp/*/"$tag".*; do
    if is_there "$e"; then rm -rf "${e%/*}"; fi
  done
}
[ -n "$data" ] || trap clean EXIT
"""

WRITE = f"""{_PATH}{_SENT}{_tools("base64", "gzip")}[ -d "$p" ] && say directory
if [ -e "$p" ] && [ ! -f "$p" ]; then say other; fi
parent=${{p%/*}}
if [ ! -d "$parent" ]; then
  if [ "$parents" ]; then mkdir -p "$parent" 2>/dev/null; fi
  if [ ! -d "$parent" ]; then
    above=$parent
    until is_there "$above"; do above=${{above%/*}}; done
    [ -d "$above" ] || say file
    if is_closed; then say closed; fi
    [ "$parents" ] || say nothing
    [ -w "$above" ] || say closed
    mkdir -p "$parent" || exit 1
  fi
fi
if [ ! -w "$parent" ] || [ ! -x "$parent" ]; then say closed; fi
if [ -z "$data" ]; then
  set -- "$s/$tag".*
  [ -e "$1" ] || say incomplete
fi
content() {{ if [ -n "$data" ]; then printf %s "$data" | base64 -d; else cat "$@"; fi; }}
if [ -z "$mode" ] && [ -f "$p" ] && [ ! -h "$p" ]; then mode=$(stat -c %a "$p" 2>/dev/null); fi
[ -n "$mode" ] || mode=$(printf %o "$((0666 & ~$(umask)))")
new=$parent/.$tag
(umask 077 && content "$@" | gzip -dc >"$new") && chmod "$mode" "$new" && mv -f "$new" "$p" && say done
code=$?
rm -f "$new"
exit "$code\""""
"""Write ``$data``, or the content in ``$s``, to a new file beside ``$p``. Rename it to ``$p`` when it is complete."""

# A name contains no slash, so a slash marks its end.
LIST = f"""{_PATH}{_MISSING}[ -d "$p" ] || say file
if [ ! -r "$p" ] || [ ! -x "$p" ]; then say closed; fi
{_tools("base64", "find", "readlink", "stat")}cd "$p" || exit 1
echo entries
{{
  find . ! -name . -prune -exec stat -c '%f %s %Y %n/' {{}} +
  printf '\\0'
  find . ! -name . -prune -type l -exec sh -c 'for e; do printf "%s/" "$e"; readlink -n "$e"; printf "\\0"; done' sh {{}} +
  printf '\\0'
}} | base64"""
"""Print the entries of ``$p`` and then the targets of its symlinks, in base64."""
