#!/usr/bin/env python3
"""Puts the package together as it is installed: its sources, and the modules that protoc makes of the .proto files.

    build_package.py --out DIR [--protoc PROTOC]      then: PYTHONPATH=DIR python3 -c 'import millrace'

Without --protoc: that of grpcio-tools if it is installed, else the one on the PATH. setup.py does the same for pip.
"""

import argparse
import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHIPPED_PROTO = HERE / "proto"  # in a source distribution
PROTO = SHIPPED_PROTO if SHIPPED_PROTO.exists() else HERE.parent.parent / "proto"


def generate(out: Path, protoc: str = "") -> None:
    """Writes out/millrace/v1."""
    command = [protoc]
    if not protoc:
        has_tools = importlib.util.find_spec("grpc_tools") is not None
        command = [sys.executable, "-m", "grpc_tools.protoc"] if has_tools else ["protoc"]
    protos = sorted(str(path) for path in (PROTO / "millrace" / "v1").glob("*.proto"))
    subprocess.run([*command, f"-I{PROTO}", f"--python_out={out}", f"--pyi_out={out}", *protos], check=True)
    (out / "millrace" / "v1" / "__init__.py").write_text('"""Made by protoc from proto/millrace/v1."""\n')


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--out", required=True, type=Path)
    arguments.add_argument("--protoc", default="")
    options = arguments.parse_args()
    package = options.out / "millrace"
    shutil.rmtree(package, ignore_errors=True)
    shutil.copytree(HERE / "src" / "millrace", package, ignore=shutil.ignore_patterns("__pycache__"))
    generate(options.out, options.protoc)


if __name__ == "__main__":
    main()
