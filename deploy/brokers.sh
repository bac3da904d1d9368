# What the scripts that start brokers share; sourced from the repository's root, which is reached without symbolic links: running()
# holds paths against those of /proc.
#
# A broker has a folder: its data in data/, millraced.log, millraced.pid, and `ready` with the line that it prints when it can serve.
bin=$PWD/build/release/bin

bold() { if [ -t 1 ]; then printf '\033[1m%s\033[0m\n' "$*"; else printf '%s\n' "$*"; fi; }
title() { echo; bold "== $*"; }
fail() { echo "${0##*/}: $*" >&2; exit 1; }

# Shows a command as one would type it, then runs it.
run() {
  local word line='$'
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9@%_./:=,+-]+$ ]] || word="'$word'"
    line+=" $word"
  done
  echo "$line"
  "$@"
}

install_packages() {
  deploy/install-packages
  echo "all there"
}

build() {
  local begin=$SECONDS quiet=(-- --quiet)
  # Not CMakeCache.txt: a configure that failed leaves that behind, too.
  [ -f build/release/build.ninja ] || cmake --preset release -DMILLRACE_BUILD_TESTS=OFF --log-level=WARNING >/dev/null
  [ ! -t 1 ] || quiet=()
  cmake --build --preset release -j "$(deploy/jobs)" --target millraced millrace_cli "${quiet[@]}"
  echo "build/release/bin/millraced and build/release/bin/millrace, $((SECONDS - begin)) s"
}

free_port() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# The pid of the broker of folder $1, if it runs.
running() {
  local pid
  pid=$(cat "$1/millraced.pid" 2>/dev/null) || return 1
  # A number from before a reboot may be somebody else's by now, or another broker's.
  case $(readlink "/proc/$pid/exe" 2>/dev/null) in "$bin/millraced"*) ;; *) return 1 ;; esac
  tr '\0' '\n' <"/proc/$pid/cmdline" | grep -qxF -e "$1/data" || return 1
  echo "$pid"
}

# Starts a broker in folder $1 with the flags that follow. In a session of its own, so that it outlives this script and its terminal.
launch() {
  local folder=$1
  shift
  mkdir -p "$folder"
  : >"$folder/ready"
  setsid "$bin/millraced" --data-dir "$folder/data" "$@" >"$folder/ready" 2>>"$folder/millraced.log" </dev/null &
  echo $! >"$folder/millraced.pid"
}

# Waits for the broker that was launched in folder $1. It fails with 1 if that has ended, with 2 if it is not ready after $2 seconds.
await_ready() {
  local pid until=$((SECONDS + $2))
  pid=$(cat "$1/millraced.pid")
  while [ $SECONDS -lt $until ]; do
    ! grep -q '^ready ' "$1/ready" || return 0
    # Not running(): before its exec the process is still a copy of this script.
    kill -0 "$pid" 2>/dev/null || return 1
    sleep 0.05
  done
  return 2
}

# Says why await_ready failed, with $? as $2.
say_why_not_ready() {
  tail -n 5 "$1/millraced.log" >&2 || true
  if [ "$2" -eq 1 ]; then
    echo "${0##*/}: the broker did not start (above; all of it: $1/millraced.log)" >&2
  else
    echo "${0##*/}: the broker is not ready in time (above; all of it: $1/millraced.log)" >&2
  fi
}

# Whether process $1 has let go of its files and ports. Where nobody fetches its exit code, a zombie of one thread stays.
has_ended() {
  local state
  state=$(sed -n 's/^\(State\|Threads\):\t\(.\).*/\2/p' "/proc/$1/status" 2>/dev/null | tr -d '\n')
  [ -z "$state" ] || [ "$state" = Z1 ]
}

# Waits for the end of process $2, the broker of folder $1, which was told to end.
await_end() {
  local until=$((SECONDS + 30))
  while [ $SECONDS -lt $until ]; do
    ! has_ended "$2" || { rm -f "$1/millraced.pid"; return 0; }
    sleep 0.05
  done
  fail "broker $2 does not end; its log is $1/millraced.log"
}

# Ends the broker of folder $1 by signal $2; fails if none runs.
end() {
  local pid
  pid=$(running "$1") || { rm -f "$1/millraced.pid"; return 1; }
  kill -"$2" "$pid"
  await_end "$1" "$pid"
}

# A field of the line that the broker of folder $1 printed.
ready_field() { sed -n "s/^ready .*$2=\([^ ]*\).*/\1/p" "$1/ready"; }
