"""The model index, the READMEs and the rows of results: nothing is missing, nothing contradicts.

All of it is text; no config is loaded but the one from inside the wheel.
"""

import functools
import re
import shutil
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest
import yaml
from helpers import ROOT, run_command
from mmengine.config import Config

from mmic.engine.rows import CONFIGS, read_rows, resolve

FOLDER = ROOT / 'configs'
# Parts of configs, and the demos' configs on generated data, stand in no paper.
NO_RESULT = ('_base_', 'toy')
FILES = sorted(
    path.relative_to(FOLDER).as_posix()
    for path in FOLDER.rglob('*.py')
    if not set(path.relative_to(FOLDER).parts) & set(NO_RESULT)
)
METAFILES = sorted(path.relative_to(ROOT).as_posix() for path in FOLDER.rglob('metafile.yml'))
READMES = sorted(path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob('README.md'))
ENDS = {'voc0712': 'PASCAL VOC', 'crowdhuman': 'CrowdHuman'}

# What a column of the READMEs' tables prints, in the names of configs/rows.
COLUMNS = {
    'box AP': ['box_AP'],
    'AP_S / AP_M / AP_L': ['box_APs', 'box_APm', 'box_APl'],
    'mask AP': ['mask_AP'],
    'mask AP_S / AP_M / AP_L': ['mask_APs', 'mask_APm', 'mask_APl'],
    'AP50': ['voc_AP50'],
    'recall / AP / MR': ['recall', 'box_AP', 'MR_minus2'],
    'keypoint AP': ['kpt_AP'],
    'AP_M / AP_L / AR': ['kpt_APm', 'kpt_APl', 'kpt_AR'],
    'mIoU': ['mIoU'],
    'top-1 accuracy': ['top1_acc'],
    'top-5 accuracy': ['top5_acc'],
    'top-1 error': ['top1_err'],
    'top-5 error': ['top5_err'],
    'standard deviation': ['top1_err_std'],
}
# Results that READMEs give in words.
IN_WORDS = ('ps.text.r50.p1248', 'ps.text.faster_rcnn.r50.cosine_pretrain')


@pytest.fixture(scope='module')
def rows():
    return read_rows()


def load_yaml(name):
    return yaml.safe_load((ROOT / name).read_text())


def models():
    return [(name, model) for name in METAFILES for model in load_yaml(name)['Models']]


# The model index


def test_index_imports_every_metafile():
    assert load_yaml('model-index.yml') == {'Import': METAFILES}


def test_every_config_is_listed_once_in_the_metafile_of_its_folder():
    listed = Counter((model['Config'], Path(name).parent.as_posix()) for name, model in models())
    expected = {(f'configs/{file}', f'configs/{Path(file).parent}'): 1 for file in FILES}
    missing, wrong = Counter(expected) - listed, listed - Counter(expected)
    assert not missing
    assert not wrong


def test_names_are_those_of_the_configs_and_unique():
    """mim finds a model by its name, which it puts in small letters."""
    stems = Counter(Path(file).stem for file in FILES)
    for _, model in models():
        path = Path(model['Config'])
        method = path.parts[1].replace('_', '-')
        expected = path.stem if stems[path.stem] == 1 else f'{method}_{path.stem}'
        assert model['Name'] == expected
    names = Counter(model['Name'].lower() for _, model in models())
    assert max(names.values()) == 1


@pytest.mark.parametrize('name', METAFILES)
def test_metafile_says_what_the_names_say(name):
    content = load_yaml(name)
    collections = {collection['Name']: collection for collection in content['Collections']}
    for collection in collections.values():
        assert (ROOT / collection['README']).is_file()
        assert collection['Paper']['URL'].startswith('https://arxiv.org/abs/')
    for model in content['Models']:
        data, stem = model['Metadata'], Path(model['Config']).stem
        assert model['In Collection'] in collections
        number, unit = re.search(r'_(\d+)([exk])_', stem).groups()
        if unit == 'k':
            assert data['Iterations'] == int(number) * 1000
        else:
            assert data['Epochs'] == int(number) * (12 if unit == 'x' else 1), stem
        assert data['Batch Size'] > 0
        assert data.get('Training Data') == ENDS.get(stem.rpartition('_')[2]), stem


# Rows and READMEs


def tables(name):
    """Tables of a README: the header's cells, and of each line the config and the cells."""
    for block in re.findall(r'(?:^\|.*\n)+', (FOLDER / name).read_text(), re.M):
        head, _, *lines = (
            [cell.strip() for cell in line.split('|')[1:-1]] for line in block.splitlines()
        )
        yield head, lines


def links(name):
    """Configs that a README links, below ``configs/``."""
    page = FOLDER / name
    found = re.findall(r'\]\(([^)#]+\.py)\)', page.read_text())
    return {(page.parent / link).resolve().relative_to(FOLDER).as_posix() for link in found}


def numbers(cell):
    """The numbers of a cell, without its remarks in brackets."""
    return [
        float(number)
        for number in re.findall(r'[-+]?\d+(?:\.\d+)?', re.sub(r'\(.*?\)|\[.*?\]', '', cell))
    ]


def printed(row, metrics):
    """A row's numbers, and whether they are differences; empty where it lacks some."""
    for values in (row.metrics, row.delta):
        if all(name in values for name in metrics):
            return [values[name] for name in metrics]
    return []


def test_no_config_is_orphaned(rows):
    used = {getattr(row, name) for row in rows.values() for name in CONFIGS}
    linked = set().union(*(links(name) for name in READMES))
    orphans = sorted(set(FILES) - used - linked)
    assert not orphans


def matching(rows, name, head, cells):
    """Rows that have a line's numbers, and its config in their chain; None without numbers."""
    columns = [
        (COLUMNS[title.replace(", paper's", '')], cell)
        for title, cell in zip(head, cells)
        if title.endswith(", paper's") and numbers(cell)
    ]
    if not columns:
        return None
    config = re.search(r'\]\(([^)]+\.py)\)', ' '.join(cells))
    assert config, f'{name}: no config is linked in {cells}'
    config = ((FOLDER / name).parent / config[1]).resolve().relative_to(FOLDER).as_posix()
    # Differences are printed with their sign, and nothing else is.
    signed = all(cell[0] in '+-' for _, cell in columns)
    return [
        row.id
        for row in rows.values()
        if config in {getattr(resolve(rows, row), step) for step in CONFIGS}
        and bool(row.delta) == signed
        and all(printed(row, metrics) == numbers(cell) for metrics, cell in columns)
    ]


@functools.lru_cache(maxsize=None)
def found_rows(name):
    """Each line of a README's tables, with its ``matching`` rows."""
    rows = read_rows()
    return [
        (cells, matching(rows, name, head, cells))
        for head, lines in tables(name)
        for cells in lines
    ]


@pytest.mark.parametrize('name', READMES)
def test_printed_numbers_are_those_of_the_rows(name):
    wrong = [cells for cells, found in found_rows(name) if found == []]
    assert not wrong


def test_every_result_with_a_config_stands_in_a_readme(rows):
    shown = {key for name in READMES for _, found in found_rows(name) for key in found or ()}
    expected = {row.id for row in rows.values() if row.config and (row.metrics or row.delta)}
    assert expected - shown == set(IN_WORDS)


# Packaging


def test_wheel_has_what_mim_reads(tmp_path):
    """Built from a source distribution, without network, outside of the working tree."""
    source = tmp_path / 'source'
    for name in ('mmic', 'configs', 'tools'):
        ignored = shutil.ignore_patterns('__pycache__')
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    for name in ('setup.py', 'pyproject.toml', 'MANIFEST.in', 'README.md', 'model-index.yml'):
        shutil.copy(ROOT / name, source)
    sdist = 'from setuptools.build_meta import build_sdist; print(build_sdist("."))'
    archive = run_command(sys.executable, '-c', sdist, cwd=source).split()[-1]
    options = ('--no-deps', '--no-build-isolation', '--no-index', '--wheel-dir', tmp_path)
    run_command(sys.executable, '-m', 'pip', 'wheel', *options, source / archive)
    (wheel,) = tmp_path.glob('*.whl')
    with zipfile.ZipFile(wheel) as file:
        file.extractall(tmp_path / 'installed')
    mim = tmp_path / 'installed' / 'mmic' / '.mim'
    expected = {ROOT / 'model-index.yml'}
    for name in ('configs', 'tools'):
        expected |= {path for path in (ROOT / name).rglob('*') if path.is_file()}
    assert {path.relative_to(mim).as_posix() for path in mim.rglob('*') if path.is_file()} == {
        path.relative_to(ROOT).as_posix() for path in expected if '__pycache__' not in path.parts
    }
    # Bases and patterns are found there.
    pytest.importorskip('mmdet')
    folder = mim / 'configs' / 'toy'
    cfg = Config.fromfile(folder / 'faster-rcnn_ic-r18-k9_fpn_toy.py', import_custom_modules=False)
    assert Path(cfg.model.backbone.pattern).parent == folder / 'patterns'
    assert Path(cfg.model.backbone.pattern).is_file()
