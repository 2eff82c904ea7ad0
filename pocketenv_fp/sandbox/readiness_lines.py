"""Shell lines that look for a server inside of a sandbox, with the first tool that is there.

Each is POSIX shell. It prints ``ready``, or ``waits`` and what it saw last: ``refused``, ``silent`` or a status of HTTP.
"""

from __future__ import annotations

__all__ = ["HTTP", "NO_TOOL", "PORT"]

NO_TOOL = 95

# A connection to a server that accepts none waits for minutes.
_CONNECTS = """limit() {
  if command -v timeout >/dev/null; then timeout "$most" "$@"; else "$@"; fi
}
has() { command -v "$1" >/dev/null; }
connects() {
  if [ "$BASH_VERSION" ]; then limit "$BASH" -c ': <>"/dev/tcp/$0/$1"' "$1" "$port"
  elif has python3; then
    python3 -c 'import socket, sys; socket.create_connection((sys.argv[1], sys.argv[2]), float(sys.argv[3]))' "$1" "$port" "$most"
  elif has curl; then
    curl -s -o /dev/null --noproxy '*' --connect-timeout "$most" "http://$(name "$1"):$port/" -m "$most"
    [ $? != 7 ]
  elif has nc; then nc -z -w "$most" "$1" "$port"
  else exit 95; fi
} 2>/dev/null </dev/null
name() { case $1 in *:*) echo "[$1]" ;; *) echo "$1" ;; esac; }
"""
# The tool must send a request to this address only: no proxy, and no other address.
_STATUS = r"""status_of() {
  if has curl; then
    curl -gs -o /dev/null -w '%{http_code}' --noproxy '*' -m "$most" "http://$(name "$1"):$port$path"
  elif has python3; then
    python3 -c 'import http.client, sys
c = http.client.HTTPConnection(sys.argv[1], int(sys.argv[2]), timeout=float(sys.argv[4]))
c.request("GET", sys.argv[3])
print(c.getresponse().status)' "$1" "$port" "$path" "$most"
  elif [ "$BASH_VERSION" ]; then
    limit "$BASH" -c 'exec 9<>"/dev/tcp/$0/$1" && printf "GET %s HTTP/1.0\r\nHost: localhost:%s\r\n\r\n" "$2" "$1" >&9 &&
read -r proto code rest <&9 && case $proto in HTTP/*) echo "$code" ;; esac' "$1" "$port" "$path"
  else exit 95; fi
} 2>/dev/null </dev/null
"""
_LOOP = """n=0
while :; do
  seen=refused
  for host in 127.0.0.1 ::1; do
    looks "$host" && { echo ready; exit; }
  done
  [ "$n" -lt "$waits" ] || break
  sleep .1
  n=$((n+1))
done
echo "waits $seen\""""
_PORT = """looks() { connects "$1"; }
"""
_HTTP = """looks() {
  code=$(status_of "$1") || [ $? != 95 ] || exit 95
  case $code in
    [1-9][0-9][0-9]) seen=$code ;;
    *) if [ "$seen" = refused ] && connects "$1"; then seen=silent; fi; return 1 ;;
  esac
  if [ "$wanted" ]; then [ "$code" = "$wanted" ]; else [ "$code" -ge 200 ] && [ "$code" -lt 400 ]; fi
}
"""

PORT = f"{_CONNECTS}{_PORT}{_LOOP}"
"""Wait until a server accepts connections on ``$port``, ``$waits`` times 0.1 s at most."""

HTTP = f"{_CONNECTS}{_STATUS}{_HTTP}{_LOOP}"
"""Wait until a GET of ``$path`` has the status ``$wanted``, or one from 200 to 399."""
