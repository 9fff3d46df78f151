"""The notebooks, which have their own folder in the repository, are a part of the package in a wheel."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithNotebooks(build_py):
    """Copy the notebooks into what is built; an editable installation finds them where they are."""

    def run(self) -> None:
        """Build the package, then add the notebooks."""
        super().run()
        if not self.editable_mode:
            suffixes = {".ipynb", ".md", ".svg"}
            for path in Path("notebooks").rglob("*"):
                if path.suffix in suffixes and not any(part.startswith(".") for part in path.parts):
                    target = Path(self.build_lib, "chatlio_kit", path)
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, target)


setup(cmdclass={"build_py": BuildWithNotebooks})
