"""Packaging of mmic.

As an OpenMMLab plugin it requires no mm* package and no torch: its users have those
already, and installing mmic must not change them.
"""

import re
import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'mmic' / 'version.py').read_text())[1]


class BuildWithMim(build_py):
    """Puts configs and tools into the package, where `mim` looks for them.

    An editable install gets none: there, they are in the working tree.
    """

    def run(self):
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib) / 'mmic' / '.mim'
        # What an earlier build left there may have been removed since.
        shutil.rmtree(mim, ignore_errors=True)
        for folder in ('configs', 'tools'):
            ignored = shutil.ignore_patterns('__pycache__')
            shutil.copytree(HERE / folder, mim / folder, ignore=ignored)
        shutil.copy(HERE / 'model-index.yml', mim)


setup(
    name='mmic',
    version=VERSION,
    description='Convolutions that choose their receptive field, for MMDetection and MMPose',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmic', 'mmic.*']),
    cmdclass={'build_py': BuildWithMim},
    python_requires='>=3.8',
    # The host packages bring both; they are listed because mmic imports them itself.
    install_requires=['numpy', 'rich'],
    extras_require={
        'plots': ['matplotlib'],
        'fast': ['numba'],
        'search': ['scipy'],
        'dev': ['pytest', 'hypothesis', 'ruff'],
    },
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
