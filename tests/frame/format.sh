#!/usr/bin/env bash
# Every C++ file is as Debian 12's clang-format (14) leaves it; other versions differ in details. Exit 77 (skipped) without it.
#   format.sh ROOT          names the files that differ
#   format.sh ROOT --fix    formats them
set -euo pipefail
cd "$1"
clang-format --version 2>/dev/null | grep -q 'version 14\.' || { echo "clang-format 14 is not installed"; exit 77; }
mapfile -t sources < <(find proto raft storage server client tests -name '*.cc' -o -name '*.h' | sort)
if [ "${2:-}" = --fix ]; then
  clang-format -i "${sources[@]}"
elif ! clang-format --dry-run --Werror "${sources[@]}" 2>&1 | sed -n 's/^\([^ :]*\):[0-9].*error:.*/\1/p' | uniq >&2; then
  echo "not formatted (above); run: tests/frame/format.sh . --fix" >&2
  exit 1
fi
