"""What pyproject.toml cannot say: protoc makes millrace/v1 when the package is built, and a source distribution has the protos."""

import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build_package


class BuildWithProtos(build_py):
    def run(self) -> None:
        super().run()
        if not self.editable_mode:
            build_package.generate(Path(self.build_lib))


class SdistWithProtos(sdist):
    def make_release_tree(self, base_dir: str, files: list) -> None:
        super().make_release_tree(base_dir, files)
        shutil.copytree(build_package.PROTO / "millrace" / "v1", Path(base_dir) / "proto" / "millrace" / "v1")
        shutil.copy(build_package.__file__, base_dir)


setup(cmdclass={"build_py": BuildWithProtos, "sdist": SdistWithProtos})
