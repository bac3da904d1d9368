#!/usr/bin/env bash
# Installs the build into a new prefix and uses it as somebody who has only that: the binaries run, and a program outside the
# tree is built with find_package(millrace) and another with pkg-config.
#   install_test.sh BUILD_DIR CXX
set -euo pipefail
build=$1 cxx=$2
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
prefix=$scratch/prefix

cmake --install "$build" --prefix "$prefix" >"$scratch/install.log" || { cat "$scratch/install.log"; exit 1; }
(cd "$prefix" && find . -type f | sort)

echo "-- binaries"
"$prefix/bin/millraced" --version
"$prefix/bin/millrace" --version

echo "-- installed headers stand alone"
for header in "$prefix"/include/millrace/*.h; do
  echo "#include <millrace/$(basename "$header")>" | "$cxx" -std=c++20 -fsyntax-only -I "$prefix/include" -x c++ -
done

echo "-- nothing of this tree is named in what was installed"
if grep -rlF "$(cd "$here/../../.." && pwd)/" "$prefix/lib" --include='*.cmake' --include='*.pc'; then exit 1; fi

echo "-- find_package(millrace)"
cmake -G Ninja -S "$here/find_package" -B "$scratch/find_package" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_COMPILER="$cxx" \
  >"$scratch/configure.log" || { cat "$scratch/configure.log"; exit 1; }
cmake --build "$scratch/find_package" -- --quiet
"$scratch/find_package/program"

echo "-- pkg-config millrace"
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig:$(echo "$prefix"/lib/*/pkgconfig)
read -ra flags <<<"$(pkg-config --cflags --libs --static millrace)"
"$cxx" -std=c++20 "$here/program.cc" -o "$scratch/program" "${flags[@]}"
"$scratch/program"
