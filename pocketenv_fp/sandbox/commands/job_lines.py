r"""Shell lines that start, look at, kill and delete jobs.

Each line is POSIX shell, runs in ``/`` and reaches a job's directory from there: ``./tmp/.pocketenv-jobs/ID``, with
mode 700. A job has these files. ``command``, ``key`` (a hash of what was started), ``supervisor`` and ``pid`` (process
ids), ``stdout``, ``stderr``, ``stdin``, ``script``, ``late`` if it reached its timeout, and ``code``, which is moved into
place last: the exit code, and how many bytes of both outputs belong to the command.

The values of the environment are in no file and in no argument: they arrive as variables ``pocketenv_env_0``, … of the
starting shell, and the job's own shell takes its names from them.
"""

from __future__ import annotations

__all__ = [
    "CANCEL",
    "CLOSED",
    "DIFFERS",
    "ENDED",
    "FORGET",
    "GONE",
    "INPUT",
    "LIST",
    "LOOK",
    "NEEDS",
    "NO_ROOM",
    "NO_TOOL",
    "PRINT",
    "REVOKE",
    "RUNS",
    "START",
    "SUPERVISOR",
    "runner",
]

NO_ROOM = 93
DIFFERS = 94
NO_TOOL = 95
GONE = 96
RUNS = 97
CLOSED = 98
ENDED = 99

_BASE = "./tmp/.pocketenv-jobs"
_FIND = f'cd {_BASE}/"$id" 2>/dev/null && [ -e stdout ] || exit {GONE}\n'
_ENTER = f"""cd ./tmp && {{ mkdir -m 700 .pocketenv-jobs 2>/dev/null; [ -O .pocketenv-jobs ]; }} &&
  cd .pocketenv-jobs || {{ echo "/tmp/.pocketenv-jobs is no directory of this user" >&2; exit {NO_ROOM}; }}
"""
_CLOSED = "</dev/null >/dev/null 2>&1 3>&- 4>&- 5<&-"
_NEW_SESSION = "new=$(command -v setsid)\n"

# The shell that the command becomes. Its arguments: the directory, the mask, the line, the shell, and the script.
_RUNNER = """cd "$1" || exit
umask "$2"
line=$3 shell=$4
shift 4
{exports}
exec {setting}"$shell" -c "$line" bash "$@"
"""

# The job's id is its process name. A later process with the same process id has another name.
SUPERVISOR = """shell=$1 directory=$2 mask=$3 seconds=$4 new=$5 runner=$6 line=$7
shift 7
trap "" HUP
echo $$ >supervisor.new && mv supervisor.new supervisor
end() {
  kill -s TERM -- "-$p" || kill -s TERM "$p"
  kill -s CONT -- "-$p"
  n=0
  while kill -s 0 -- "-$p" && [ $n -lt 50 ]; do sleep .1; n=$((n+1)); done
  kill -s KILL -- "-$p"
}
feed() {
  at=0
  while :; do
    is_closed=; [ ! -e closed ] || is_closed=1
    size=$(($(wc -c <input)))
    if [ $size -gt $at ]; then tail -c "+$((at+1))" input | head -c $((size-at)) || exit; at=$size
    elif [ "$is_closed" ]; then exit
    else sleep .1; fi
  done
}
in=/dev/null feeder= watcher=
[ ! -e stdin ] || in=stdin
if [ -p in ]; then feed >in & feeder=$! in=in; fi
[ "$new" ] || set -m
$new "$shell" -c "$runner" bash "$directory" "$mask" "$line" "$shell" "$@" <"$in" >>stdout 2>>stderr &
p=$!
set +m
echo $p >pid.new && mv pid.new pid
if [ "$seconds" ]; then
  (sleep "$seconds" & s=$!; trap 'kill $s; exit' TERM; wait $s; trap "" TERM; : >late; end) &
  watcher=$!
fi
wait $p
e=$?
[ ! "$watcher" ] || { [ -e late ] || kill $watcher; wait $watcher; }
late=; [ ! -e late ] || late=$seconds
set -- $(wc -c stdout stderr)
echo "$e $1 $3 $late" >code.new && mv code.new code
rm -f stdin script
[ ! "$feeder" ] || kill $feeder
"""

START = f"""({_ENTER}mask=$(umask)
umask 077
if mkdir "$id" 2>/dev/null; then
  cd "$id" || exit {NO_ROOM}
  shell=${{BASH:-/bin/sh}}
  {_NEW_SESSION}
  printf %s "$line" >command && printf %s "$key" >key.new && mv key.new key && : >stderr || exit {NO_ROOM}
  case $given in
    data) cat >stdin || exit {NO_ROOM} ;;
    open) mkfifo in && : >input || exit {NO_ROOM} ;;
  esac
  if [ "$has_script" ]; then printf %s "$script" >script && set -- "$PWD/script" || exit {NO_ROOM}; fi
  : >stdout || exit {NO_ROOM}
  $new "$shell" -c "$supervisor" "pocketenv-job-$id" \\
    "$shell" "$directory" "$mask" "$seconds" "$new" "$runner" "$line" "$@" {_CLOSED} &
  n=0
  while [ ! -e pid ] && [ $n -lt 100 ]; do sleep .02; n=$((n+1)); done
  exit 0
fi
[ -d "$id" ] || {{ mkdir "$id"; exit {NO_ROOM}; }}
n=0
while [ ! -e "$id/key" ] && [ $n -lt 100 ]; do sleep .02; n=$((n+1)); done
[ "$(cat "$id/key")" = "$key" ] || exit {DIFFERS}
) || exit
"""
"""Start the command once. If the directory exists already, only check that it is this command's."""

# The first lines and the last ones of a look: what it needs, and what it prints.
NEEDS = f"command -v base64 >/dev/null || {{ printf base64; exit {NO_TOOL}; }}\n"
PRINT = """part() {
  size=$(($2-$3))
  [ $size -le "$most" ] || size=$most
  [ $size -le 0 ] || tail -c "+$(($3+1))" "$1" | head -c $size | base64
}
echo "$state $e $((o)) $((r)) ${late:--}"
part stdout "$o" "$from_o"
echo .
part stderr "$r" "$from_r\""""

# The shell that has started the job is there, and is no later process with its process id.
_LIVES = """kill -0 "$s" 2>/dev/null && { [ ! -e /proc/self/cmdline ] || grep -qs "pocketenv-job-$id" "/proc/$s/cmdline"; }"""

# The command may have shortened its output, or written its own end.
LOOK = f"""{_FIND}{NEEDS}n=0 e=- late= state=runs
while :; do
  if [ -e code ]; then state=ended; read -r e o r late <code; fi
  set -- $(wc -c stdout stderr)
  if [ $state = ended ]; then [ "$1" -ge "$o" ] || o=$1; [ "$3" -ge "$r" ] || r=$3; break; fi
  o=$1 r=$3
  [ "$o" -le "$from_o" ] && [ "$r" -le "$from_r" ] || break
  if [ "$n" -ge "$waits" ]; then
    if [ -e supervisor ]; then
      read -r s <supervisor
      {_LIVES} || [ -e code ] || state=lost
    fi
    break
  fi
  sleep .05
  n=$((n+1))
done
if [ "$whole" ] && [ $state = ended ]; then from_o=0 from_r=0; fi
{PRINT}"""
"""Wait for more output than was seen, at most ``$waits`` times 0.05 s, and print the state and the output.

With ``$whole`` it prints the output from the beginning if the job has ended.
"""

_END = f"""if [ ! -e code ]; then
  n=0
  while [ ! -e pid ] && [ $n -lt 50 ]; do sleep .02; n=$((n+1)); done
  read -r p <pid || exit 0
  kill -s TERM -- "-$p" 2>/dev/null || kill -s TERM "$p" 2>/dev/null
  kill -s CONT -- "-$p" 2>/dev/null
  {_NEW_SESSION}
  $new "${{BASH:-/bin/sh}}" -c 'n=0
while kill -s 0 -- "-$1" && [ $n -lt 50 ]; do sleep .1; n=$((n+1)); done
kill -s KILL -- "-$1" || kill -s KILL "$1"' sh "$p" {_CLOSED} &
fi
"""
CANCEL = f"{_FIND}{_END}exit 0"
"""Kill the command and its process group: SIGTERM now, SIGKILL after five seconds. The line does not wait for them."""

REVOKE = f"""{_ENTER}umask 077
if mkdir "$id" 2>/dev/null; then echo revoked >"$id/key"; exit 0; fi
cd "$id" && [ -e stdout ] || exit 0
{_END}exit 0"""
"""Kill the command. A request for its start that arrives later starts nothing."""

FORGET = f"""cd {_BASE} 2>/dev/null && [ -d "$id" ] || exit 0
if [ -e "$id/stdout" ] && [ ! -e "$id/code" ] && [ -e "$id/supervisor" ]; then
  read -r s <"$id/supervisor"
  if {_LIVES}; then exit {RUNS}; fi
fi
if [ "$keeps" ]; then cd "$id" && rm -rf stdout stderr command code pid supervisor late in input closed in.*
else rm -rf "$id"; fi"""
"""Delete a job that has ended. With ``keeps`` its name stays, so that a start that arrives later starts nothing."""

INPUT = f"""{_FIND}[ -p in ] || exit {CLOSED}
umask 077
if mkdir "in.$message" 2>/dev/null; then
  e=0
  if [ -e closed ]; then e={CLOSED}
  elif [ -e code ]; then e={ENDED}
  elif cat >"in.$message/data" && cat "in.$message/data" >>input && rm "in.$message/data"; then
    [ ! "$closes" ] || : >closed
  else e={NO_ROOM}; fi
  echo $e >"in.$message/code.new" && mv "in.$message/code.new" "in.$message/code"
fi
n=0
while [ ! -e "in.$message/code" ] && [ $n -lt 100 ]; do sleep .05; n=$((n+1)); done
[ -e "in.$message/code" ] && read -r e <"in.$message/code" || exit {NO_ROOM}
exit $e"""
"""Append the standard input of this line to the input of the job.

A second run of the line changes nothing. It waits for the first one, and ends with its exit code.
"""

LIST = f"""cd {_BASE} 2>/dev/null || exit 0
for e in *; do [ ! -e "$e/stdout" ] || echo "$e"; done"""
"""Print the ids of all jobs."""


def runner(names: list[str], plain: set[str]) -> str:
    """Return the shell text that takes these variables from ``pocketenv_env_0``, … and becomes the command."""
    own = [f'export {name}="$pocketenv_env_{at}"' for at, name in enumerate(names) if name in plain]
    others = "".join(f'{name}="$pocketenv_env_{at}" ' for at, name in enumerate(names) if name not in plain)
    unset = [f"-u pocketenv_env_{at}" for at, name in enumerate(names) if name not in plain]
    gone = [f"unset pocketenv_env_{at}" for at, name in enumerate(names) if name in plain]
    setting = f"env {' '.join(unset)} {others}" if others else ""
    return _RUNNER.format(exports="\n".join((*own, *gone)), setting=setting)
