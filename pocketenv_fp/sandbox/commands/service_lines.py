"""Shell lines that keep the output of a service, and read it.

A service that `spawn` starts writes to ``stdout`` and ``stderr`` in ``/tmp/.pocketenv-services/KEY``. ``mark`` there is
the value of an environment variable of its processes. Another service of the same name has another mark, and begins
with empty files.
"""

from __future__ import annotations

import re

from pocketenv_fp.sandbox.commands.job_lines import GONE, NEEDS, PRINT

__all__ = ["LOOK", "MARK", "MARK_PATTERN", "keeping", "key_of"]

MARK = "POCKETENV_SPAWNED"
"""The variable. It is set in the environment of the service and its children, so that a search in /proc finds them."""
# The brackets keep the search from finding itself. The mark is in the environment, and before that in the arguments of
# the shell that the platform starts.
MARK_PATTERN = f"{MARK[:-1]}[{MARK[-1]}]='?"

_DIRECTORY = ".pocketenv-services"
# One line: the platform changes newlines. The service also runs if the files cannot be made: after a redirection of
# `:` that fails, a shell ends.
_KEEP = """cd /tmp; m=$(umask); umask 077; { mkdir -p %(at)s && cd %(at)s && \
{ [ "$(cat mark)" = %(mark)s ] || { rm -f stdout stderr; echo %(mark)s >mark; }; } && true >>stdout && true >>stderr; } 2>/dev/null \
&& exec >>stdout 2>>stderr; umask $m; """


_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,99}")


def key_of(name: str) -> str:
    """Return the name of the directory of a service's output."""
    import hashlib

    return name if _PLAIN.fullmatch(name) else f"+{hashlib.sha256(name.encode()).hexdigest()[:32]}"


def keeping(name: str, mark: str) -> str:
    """Return the shell text that sends the output of what follows it to files."""
    return _KEEP % {"at": f"{_DIRECTORY}/{key_of(name)}", "mark": mark}


# Without /proc the state is unknown.
LOOK = f"""cd ./tmp/{_DIRECTORY}/"$id" 2>/dev/null && [ -e stdout ] && [ -e stderr ] && read -r mark <mark || exit {GONE}
{NEEDS}ends() {{
  [ -e /proc/self/environ ] && ! grep -qsaE "{MARK_PATTERN}$mark" /proc/[0-9]*/cmdline /proc/[0-9]*/environ
}}
n=0 state=runs e=- late=
while :; do
  set -- $(wc -c stdout stderr)
  o=$1 r=$3
  [ "$o" -le "$from_o" ] && [ "$r" -le "$from_r" ] && [ "$n" -lt "$waits" ] || break
  sleep .05
  n=$((n+1))
done
if ends; then
  set -- $(wc -c stdout stderr)
  state=ended e=0 o=$1 r=$3
fi
{PRINT}"""
"""Wait for further output, ``$waits`` times 0.05 s at most. Print whether the service runs, and its further output."""
