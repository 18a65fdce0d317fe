"""Packaging of mmic.

As an OpenMMLab plugin it requires no mm* package and no torch: its users have those
already, and installing mmic must not change them.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(r"__version__ = '(.+)'", (HERE / 'mmic' / 'version.py').read_text())[1]

setup(
    name='mmic',
    version=VERSION,
    description='Convolutions that choose their receptive field, for MMDetection and MMPose',
    long_description=(HERE / 'README.md').read_text(),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    packages=find_packages(include=['mmic', 'mmic.*']),
    python_requires='>=3.8',
    # The host packages bring both; they are listed because mmic imports them itself.
    install_requires=['numpy', 'rich'],
    extras_require={'plots': ['matplotlib'], 'dev': ['pytest', 'hypothesis', 'ruff']},
    classifiers=[
        'License :: OSI Approved :: Apache Software License',
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
)
