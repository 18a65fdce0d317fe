"""The table of the papers' results: complete, sound, and turned into the right commands."""

import argparse
import dataclasses
import functools
import json
import posixpath
import re
import shlex
from collections import Counter
from pathlib import Path, PurePosixPath
from unittest import mock

import mmengine
import pytest
from helpers import ROOT, call_tool
from mmengine.config import DictAction

from mmic.engine.report import read_results
from mmic.engine.reproduce import inputs_of, load_config, steps_of
from mmic.engine.row_options import option_words
from mmic.engine.rows import PAPERS, read_rows, resolve
from mmic.files import BadFileError

pytest.importorskip('mmdet')
pytest.importorskip('mmpretrain')

# Results in each table, counted in the papers.
PRINTED = {
    'ic': {
        'Table 1': 8,
        'Table 2': 10,
        'Table 3': 12,
        'Table 4': 4,
        'Table 5': 46,
        'Table 6': 12,
        'Table 7': 2,
        'Table 8': 8,
        'Table 9': 5,
        'Table 10': 3,
        'Figure 3': 6,
        'Sec. 3.3, text': 1,
    },
    'ps': {
        'Table 1': 12,
        'Table 2': 11,
        'Table 3': 4,
        'Table 4': 5,
        'Table 5': 3,
        'Table 6': 6,
        'Table 7': 12,
        'Table 8': 10,
        'Sec. 4.2, text': 2,
        'Footnote 4, text': 1,
        'Footnote 5, text': 1,
        'Sec. 4.2 Speed Benchmark, text': 3,
        'Appendix G, text': 7,
    },
    'nats': {
        'Table 1': 9,
        'Table 2': 7,
        'Table 3': 6,
        'Table 4': 4,
        'Table 5': 4,
        'Table 6': 8,
        'Footnote 3, text': 1,
    },
    'cr': {
        'Table 1': 8,
        'Table 2': 4,
        'Table 3': 6,
        'Table 4': 12,
        'Table 5': 12,
        'Table 6': 4,
        'Table 7': 4,
        'Table 8': 2,
        'Table 9': 2,
        'Figure 6': 2,
    },
    'do': {
        'Table 1': 36,
        'Table 2': 47,
        'Table 3': 12,
        'Table 4': 6,
        'Table 5': 3,
        'Table 6': 18,
        'Table 7': 3,
        'Table 8': 4,
    },
}
TOTALS = {'ic': 117, 'ps': 77, 'nats': 39, 'cr': 56, 'do': 129}

# A few results, typed in from the papers once more.
NUMBERS = {
    'ic.t1.r50': {'top1_acc': 77.30, 'top5_acc': 93.58},
    'ic.t4.rfcn.r101': {'voc_AP50': 82.95},
    'ps.t5.r50.out_only': {'top1_err': 22.056, 'top5_err': 6.174},
    'cr.t2.r50.base': {'voc_AP50': 84.1},
    'do.t2.resnetv1b_50.base': {'top1_acc': 77.56},
}
DIFFERENCES = {
    'do.t1.cifar10.resnetv1_110': {'top1_acc': -0.05},
    'do.t2.plain_18': {'top1_acc': 1.01},
    'ps.text.faster_rcnn.r50.cosine_pretrain': {'box_AP': 2.6},
}

# Commands by row, by hand. IC: the search writes what the searched config reads.
IC = 'configs/ic_conv/faster-rcnn_ic-r50-k9'
IC_RUN = 'work_dirs/ic.t3.faster_rcnn.r50'
IC_PATTERN = 'configs/ic_conv/patterns/faster-rcnn_ic-r50-k9_fpn_13e_coco.json'
IMAGENET = 'configs/ic_conv/imagenet/ic-r50'


def start(checkpoint, *parts):
    """Options that start a detector's parts from a classifier."""
    options = [
        f'model.{part}.init_cfg.checkpoint={checkpoint} model.{part}.init_cfg.prefix=backbone.'
        for part in ('backbone', *parts)
    ]
    return f'--cfg-options {" ".join(options)} model.backbone.frozen_stages=1'


SUPERNET_START = 'work_dirs/ic-r50-k9-supernet_100e_in1k/epoch_100.pth'
IC_SEARCH = [
    f'tools/train.py {IMAGENET}-k9-supernet_100e_in1k.py',
    f'tools/train.py {IC}-supernet_fpn_13e_coco.py --work-dir {IC_RUN}/supernet '
    f'{start(SUPERNET_START)}',
    f'tools/edo_search.py {IC}-supernet_fpn_13e_coco.py {IC_RUN}/supernet/epoch_13.pth '
    f'--out {IC_PATTERN}',
    # The network that was found is trained on ImageNet once, for all rows that use it.
    f'tools/train.py {IMAGENET}-k9_100e_in1k.py --work-dir {IC_RUN}/pretrain '
    f'--cfg-options model.backbone.pattern={IC_PATTERN}',
]
RFCN = 'rfcn_ic-r50-k9_18e_voc0712'
SL = 'work_dirs/ic.t9.faster_rcnn.sl'
SL_FOUND = f'--cfg-options model.backbone.pattern={SL}/pattern.json'
NATS = 'configs/nats/faster-rcnn_nats-r50'
NATS_DATA = (
    'tools/coco_split.py nats --train data/coco/annotations/instances_train2017.json '
    '--val data/coco/annotations/instances_val2014.json '
    '--minival data/coco/annotations/instances_val2017.json --out-dir data/coco/annotations'
)
G4 = 'work_dirs/nats.t2.g4'
CR_STAGE = 'cr-r50-stage-supernet'
CR = 'work_dirs/cr.t5.r50'
CR_FOUND = f'--cfg-options model.backbone.arch=None model.backbone.pattern={CR}/pattern.json'
POSE = 'ae_ic-r50-k13_300e_coco-640x640'
BOTH = 'configs/do_conv/faster-rcnn_do-r50_do-fpn-rpn_26e_coco.py'
C4 = 'faster-rcnn_ic-r50-k9-supernet_c4_20e_crowdhuman'
C4_SEARCHED = 'faster-rcnn_ic-r50-k9_c4_20e_crowdhuman'
C4_RUN = 'work_dirs/ic.t7.faster_rcnn_c4.r50'
C4_HEAD = 'roi_head.shared_head.model'
C4_START = 'work_dirs/ic-r50-k9-c4-crowdhuman_100e_in1k/epoch_100.pth'
DETR = 'configs/ic_conv/detr_ic-r50-k9_150e_coco.py'
MASK = 'configs/ic_conv/mask-rcnn_ic-x101-32x4d-k9'
MASK_RUN = 'work_dirs/ic.t6.mask_rcnn.x101'
MASK_PATTERN = 'configs/ic_conv/patterns/mask-rcnn_ic-x101-32x4d-k9_fpn_13e_coco.json'
CASCADE = 'configs/ic_conv/cascade-mask-rcnn_ic-x101-32x4d-k9_fpn_13e_coco.py'
ALL = 'work_dirs/ic.t10.faster_rcnn.r50.backbone_fpn_rpn'
ALL_PATTERN = 'configs/ic_conv/patterns/faster-rcnn_ic-r50-k9_ic-fpn-rpn_13e_coco'
COMMANDS = {
    'ic.t3.faster_rcnn.r50': [
        *IC_SEARCH,
        f'tools/train.py {IC}_fpn_13e_coco.py --work-dir {IC_RUN}/train '
        f'{start(f"{IC_RUN}/pretrain/epoch_100.pth")}',
        f'tools/test.py {IC}_fpn_13e_coco.py {IC_RUN}/train/epoch_13.pth',
    ],
    # Trained on ImageNet as the searched one. Other methods have configs of these names.
    'ic.t3.faster_rcnn.r50.base': [
        'tools/train.py configs/ic_conv/imagenet/r50_100e_in1k.py '
        '--work-dir work_dirs/ic_conv/imagenet/r50_100e_in1k',
        'tools/train.py configs/ic_conv/faster-rcnn_r50_fpn_13e_coco.py '
        '--work-dir work_dirs/ic.t3.faster_rcnn.r50.base/train '
        + start('work_dirs/ic_conv/imagenet/r50_100e_in1k/epoch_100.pth'),
        'tools/test.py configs/ic_conv/faster-rcnn_r50_fpn_13e_coco.py '
        'work_dirs/ic.t3.faster_rcnn.r50.base/train/epoch_13.pth',
    ],
    'ic.t4.rfcn.r50': [
        *IC_SEARCH,
        f'tools/train.py configs/ic_conv/{RFCN}.py --work-dir work_dirs/ic.t4.rfcn.r50/train '
        f'{start(f"{IC_RUN}/pretrain/epoch_100.pth")}',
        f'tools/test.py configs/ic_conv/{RFCN}.py work_dirs/ic.t4.rfcn.r50/train/epoch_18.pth',
    ],
    # The supernet is that of Table 3; what another search finds in it is another network.
    'ic.t9.faster_rcnn.sl': [
        *IC_SEARCH[:2],
        f'tools/edo_search.py {IC}-supernet_fpn_13e_coco.py {IC_RUN}/supernet/epoch_13.pth '
        f'--out {SL}/pattern.json --space layer',
        f'tools/train.py {IMAGENET}-k9_100e_in1k.py --work-dir {SL}/pretrain {SL_FOUND}',
        f'tools/train.py {IC}_fpn_13e_coco.py --work-dir {SL}/train {SL_FOUND} '
        + start(f'{SL}/pretrain/epoch_100.pth')[len('--cfg-options ') :],
        f'tools/test.py {IC}_fpn_13e_coco.py {SL}/train/epoch_13.pth {SL_FOUND}',
    ],
    # The fifth stage lies in the box head; each part has its own file.
    'ic.t7.faster_rcnn_c4.r50': [
        f'tools/train.py {IMAGENET}-k9-supernet_100e_in1k.py',
        f'tools/train.py configs/ic_conv/{C4}.py --work-dir {C4_RUN}/supernet '
        f'{start(SUPERNET_START, C4_HEAD)}',
        f'tools/edo_search.py configs/ic_conv/{C4}.py {C4_RUN}/supernet/epoch_20.pth '
        f'--out configs/ic_conv/patterns/{C4_SEARCHED}.json --scope backbone',
        f'tools/edo_search.py configs/ic_conv/{C4}.py {C4_RUN}/supernet/epoch_20.pth '
        f'--out configs/ic_conv/patterns/{C4_SEARCHED}_shared-head.json '
        '--scope roi_head.shared_head',
        f'tools/train.py {IMAGENET}-k9-c4-crowdhuman_100e_in1k.py',
        f'tools/train.py configs/ic_conv/{C4_SEARCHED}.py --work-dir {C4_RUN}/train '
        f'{start(C4_START, C4_HEAD)}',
        f'tools/test.py configs/ic_conv/{C4_SEARCHED}.py {C4_RUN}/train/epoch_20.pth',
    ],
    # Without an FPN, the fifth stage in the box head: both start from one network, which has the
    # pattern of the detector with FPN.
    'ic.t2.faster_rcnn_c4.r50': [
        *IC_SEARCH,
        f'tools/train.py {IC}_c4_13e_coco.py --work-dir work_dirs/ic.t2.faster_rcnn_c4.r50/train '
        f'{start(f"{IC_RUN}/pretrain/epoch_100.pth", C4_HEAD)}',
        f'tools/test.py {IC}_c4_13e_coco.py work_dirs/ic.t2.faster_rcnn_c4.r50/train/epoch_13.pth',
    ],
    'ic.t2.detr.r50': [
        *IC_SEARCH,
        f'tools/train.py {DETR} --work-dir work_dirs/ic.t2.detr.r50/train '
        f'{start(f"{IC_RUN}/pretrain/epoch_100.pth")}',
        f'tools/test.py {DETR} work_dirs/ic.t2.detr.r50/train/epoch_150.pth',
    ],
    # Searched on Mask R-CNN.
    'ic.t6.cascade_mask_rcnn.x101': [
        'tools/train.py configs/ic_conv/imagenet/ic-x101-32x4d-k9-supernet_100e_in1k.py',
        f'tools/train.py {MASK}-supernet_fpn_13e_coco.py --work-dir {MASK_RUN}/supernet '
        f'{start("work_dirs/ic-x101-32x4d-k9-supernet_100e_in1k/epoch_100.pth")}',
        f'tools/edo_search.py {MASK}-supernet_fpn_13e_coco.py {MASK_RUN}/supernet/epoch_13.pth '
        f'--out {MASK_PATTERN}',
        'tools/train.py configs/ic_conv/imagenet/ic-x101-32x4d-k9_100e_in1k.py '
        f'--work-dir {MASK_RUN}/pretrain --cfg-options model.backbone.pattern={MASK_PATTERN}',
        f'tools/train.py {CASCADE} --work-dir work_dirs/ic.t6.cascade_mask_rcnn.x101/train '
        f'{start(f"{MASK_RUN}/pretrain/epoch_100.pth")}',
        f'tools/test.py {CASCADE} work_dirs/ic.t6.cascade_mask_rcnn.x101/train/epoch_13.pth',
    ],
    # Three searches in one supernet.
    'ic.t10.faster_rcnn.r50.backbone_fpn_rpn': [
        f'tools/train.py {IMAGENET}-k9-supernet_100e_in1k.py',
        f'tools/train.py {IC}-supernet_ic-fpn-rpn_13e_coco.py --work-dir {ALL}/supernet '
        f'{start(SUPERNET_START)}',
        *(
            f'tools/edo_search.py {IC}-supernet_ic-fpn-rpn_13e_coco.py '
            f'{ALL}/supernet/epoch_13.pth --out {ALL_PATTERN}{end}.json --scope {part}'
            for part, end in (('backbone', ''), ('neck', '_neck'), ('rpn_head', '_rpn-head'))
        ),
        f'tools/train.py {IMAGENET}-k9_100e_in1k.py --work-dir {ALL}/pretrain '
        f'--cfg-options model.backbone.pattern={ALL_PATTERN}.json',
        f'tools/train.py {IC}_ic-fpn-rpn_13e_coco.py --work-dir {ALL}/train '
        f'{start(f"{ALL}/pretrain/epoch_100.pth")}',
        f'tools/test.py {IC}_ic-fpn-rpn_13e_coco.py {ALL}/train/epoch_13.pth',
    ],
    'ps.t8.faster_rcnn.r50': [
        'tools/train.py configs/psconv/imagenet/ps-r50_100e_in1k.py',
        'tools/train.py configs/psconv/faster-rcnn_ps-r50_fpn_1x_coco.py '
        '--work-dir work_dirs/ps.t8.faster_rcnn.r50/train '
        f'{start("work_dirs/ps-r50_100e_in1k/epoch_100.pth")}',
        'tools/test.py configs/psconv/faster-rcnn_ps-r50_fpn_1x_coco.py '
        'work_dirs/ps.t8.faster_rcnn.r50/train/epoch_12.pth',
    ],
    'nats.t2.g4': [
        NATS_DATA,
        f'tools/train.py {NATS}-supernet_fpn_25e_coco.py --work-dir {G4}/supernet '
        '--cfg-options model.backbone.num_groups=4',
        f'tools/nats_search.py {NATS}-supernet_fpn_25e_coco.py {G4}/supernet/epoch_25.pth '
        f'--out {G4}/pattern.json --cfg-options model.backbone.num_groups=4',
        f'tools/train.py {NATS}_fpn_13e_coco.py --work-dir {G4}/train '
        f'--cfg-options model.backbone.pattern={G4}/pattern.json',
        f'tools/test.py {NATS}_fpn_13e_coco.py {G4}/train/epoch_13.pth '
        f'--cfg-options model.backbone.pattern={G4}/pattern.json',
    ],
    'cr.t1.r50': [
        'tools/train.py configs/cr_nas/imagenet/cr-r50_100e_in1k.py',
        'tools/train.py configs/cr_nas/faster-rcnn_cr-r50_fpn_13e_coco.py',
        'tools/test.py configs/cr_nas/faster-rcnn_cr-r50_fpn_13e_coco.py '
        'work_dirs/faster-rcnn_cr-r50_fpn_13e_coco/epoch_13.pth',
    ],
    'cr.t5.r50': [
        'tools/coco_split.py holdout data/coco/annotations/instances_train2017.json --num 5000 '
        '--names archtrain archval --out-dir data/coco/annotations '
        '--minival data/coco/annotations/instances_val2017.json',
        f'tools/train.py configs/cr_nas/imagenet/{CR_STAGE}_150e_in1k.py',
        f'tools/train.py configs/cr_nas/faster-rcnn_{CR_STAGE}_fpn_25e_coco.py',
        f'tools/cr_search.py stage configs/cr_nas/faster-rcnn_{CR_STAGE}_fpn_25e_coco.py '
        f'work_dirs/faster-rcnn_{CR_STAGE}_fpn_25e_coco/epoch_25.pth --out {CR}/pattern.json',
        'tools/train.py configs/cr_nas/imagenet/scr-r50_100e_in1k.py '
        f'--work-dir {CR}/pretrain {CR_FOUND}',
        'tools/train.py configs/cr_nas/faster-rcnn_scr-r50_fpn_13e_coco.py '
        f'--work-dir {CR}/train {CR_FOUND} '
        f'model.backbone.init_cfg.checkpoint={CR}/pretrain/epoch_100.pth',
        'tools/test.py configs/cr_nas/faster-rcnn_scr-r50_fpn_13e_coco.py '
        f'{CR}/train/epoch_13.pth {CR_FOUND}',
    ],
    'do.t5.faster_rcnn.r50.both': [
        'tools/train.py configs/do_conv/imagenet/do-r50-v1b_120e_in1k.py',
        f'tools/train.py {BOTH} --work-dir work_dirs/do.t5.faster_rcnn.r50.both/train '
        '--cfg-options model.backbone.init_cfg.checkpoint='
        'work_dirs/do-r50-v1b_120e_in1k/epoch_120.pth model.backbone.init_cfg.prefix=backbone.',
        f'tools/test.py {BOTH} work_dirs/do.t5.faster_rcnn.r50.both/train/epoch_26.pth',
    ],
}


@pytest.fixture(scope='module', autouse=True)
def _index_is_read_once():
    """Config.fromfile reads a host's whole index of models for each of its files."""
    read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)
    with mock.patch('mmengine.config.utils.load', read_once):
        yield


@pytest.fixture(scope='module')
def rows():
    return read_rows()


def commands_of(rows, key):
    return [' '.join(step.command) for step in steps_of(rows, key)]


def write_rows(folder, **lines):
    """Make a table of one line per paper, in a folder with one config, ``ic_conv/a.py``."""
    (folder / 'configs' / 'rows').mkdir(parents=True)
    (folder / 'configs' / 'ic_conv').mkdir()
    (folder / 'configs' / 'ic_conv' / 'a.py').write_text('')
    for paper in PAPERS:
        line = lines.get(paper, f'{paper}.t1.a: {{table: Table 1, network: A, not_run: No.}}')
        (folder / 'configs' / 'rows' / f'{paper}.yml').write_text(line)
    return folder


def test_every_printed_result_stands_in_the_table_once(rows):
    found = {paper: Counter() for paper in PAPERS}
    for row in rows.values():
        found[row.paper][row.table] += 1
    assert {paper: dict(tables) for paper, tables in found.items()} == PRINTED
    assert {paper: sum(tables.values()) for paper, tables in PRINTED.items()} == TOTALS
    assert len(rows) == sum(TOTALS.values()) == 418


def test_numbers_are_the_printed_ones(rows):
    assert {key: rows[key].metrics for key in NUMBERS} == NUMBERS
    assert {key: rows[key].delta for key in DIFFERENCES} == DIFFERENCES
    assert rows['cr.t6.r18'].architecture == {
        'stages': [1, 1, 2, 4],
        'operations': [0, 0, 1, 0, 1, 0, 2, 1],
    }
    # The figure's points have no numbers.
    without = {row.table for row in rows.values() if not row.printed()}
    assert without == {'Figure 3'}


def test_configs_and_rows_that_are_named_exist(rows):
    for row in rows.values():
        for name in ('config', 'pretrain', 'supernet', 'supernet_pretrain'):
            config = getattr(row, name)
            assert config is None or (ROOT / 'configs' / config).is_file(), row.id
        assert row.baseline is None or rows[row.baseline].paper == row.paper
        if row.id + '.base' in rows:
            assert row.baseline == row.id + '.base'
        assert (row.config is None) or not (row.todo or row.not_run or row.same_as), row.id


def test_no_two_rows_are_the_same_training(rows):
    """Nothing is trained twice, and no training overwrites another's pattern."""
    chains, written = {}, {}
    facts = ('id', 'table', 'network', 'dataset', 'metrics', 'delta', 'architecture', 'baseline')
    for row in rows.values():
        if row.config:
            chain = {key: value for key, value in vars(row).items() if key not in (*facts, 'note')}
            twin = chains.setdefault(json.dumps(chain), row.id)
            assert twin == row.id
        if row.search:
            place = row.pattern or row.config
            assert written.setdefault(place, row.id) == row.id
            # Nor the pattern that another row's config reads.
            assert row.pattern is None or row.pattern == f'work_dirs/{row.id}/pattern.json'


@pytest.mark.parametrize(('kernel', 'd_max'), [(5, 2), (7, 3), (11, 5), (13, 6)])
def test_figure_3_trains_and_searches_supernets_of_all_kernels(rows, kernel, d_max):
    folder, option = f'work_dirs/ic.f3.k{kernel}', f'model.backbone.d_max={d_max}'
    first, second, search, *rest = commands_of(rows, f'ic.f3.k{kernel}')
    start = f'{folder}/supernet_pretrain/epoch_100.pth'
    if kernel == 13:  # the pose estimators' supernet
        start = 'work_dirs/ic-r50-k13-supernet_100e_in1k/epoch_100.pth'
        assert first == f'tools/train.py {IMAGENET}-k13-supernet_100e_in1k.py'
    else:
        assert first == (
            f'tools/train.py {IMAGENET}-k9-supernet_100e_in1k.py '
            f'--work-dir {folder}/supernet_pretrain --cfg-options {option}'
        )
    supernet = f'{IC}-supernet_fpn_13e_coco.py'
    assert second.startswith(
        f'tools/train.py {supernet} --work-dir {folder}/supernet --cfg-options {option} '
        f'model.backbone.init_cfg.checkpoint={start} '
    )
    assert search == (
        f'tools/edo_search.py {supernet} {folder}/supernet/epoch_13.pth '
        f'--out {folder}/pattern.json --cfg-options {option}'
    )
    # What was found is 3x3.
    assert not any('d_max' in command for command in rest)
    assert all(f'model.backbone.pattern={folder}/pattern.json' in command for command in rest)


def test_options_are_in_training_and_test_and_not_before(rows):
    row = rows['ic.t4.rfcn.r50']
    options = {'train_cfg.max_epochs': 2, 'model.backbone.strides': [1, 2, 2, 1]}
    changed = dataclasses.replace(row, options=options)
    found = commands_of({**rows, row.id: changed}, row.id)
    words = 'train_cfg.max_epochs=2 model.backbone.strides=[1,2,2,1]'
    assert found[:4] == IC_SEARCH
    assert f'--cfg-options {words} model.backbone.init_cfg.checkpoint=' in found[4]
    assert found[5].endswith(f'work_dirs/ic.t4.rfcn.r50/train/epoch_2.pth --cfg-options {words}')


def test_an_option_that_the_config_has_anyway_changes_nothing(rows):
    row = dataclasses.replace(rows['ic.t1.r50.base'], options={'train_cfg.max_epochs': 100})
    assert commands_of({row.id: row}, row.id) == commands_of(rows, row.id)


def test_every_option_changes_its_config(rows):
    for row in rows.values():
        for options, name in ((row.options, row.config), (row.supernet_options, row.supernet)):
            before = load_config(name).to_dict() if options else {}
            for place, value in options.items():
                node = before
                # A last part that the config leaves out has a default of its own.
                *parts, last = place.split('.')
                for part in parts:
                    assert part in node, f'{row.id}: {place}'
                    node = node[part]
                assert node.get(last, ...) != value, f'{row.id}: {place}'


@pytest.mark.parametrize('key', COMMANDS)
def test_commands(rows, key):
    assert commands_of(rows, key) == COMMANDS[key]


def test_both_searches_of_cr_nas_follow_one_another(rows):
    found = commands_of(rows, 'cr.t6.r101')
    tools = [command.split()[0] for command in found]
    train = 'tools/train.py'
    assert tools == [
        *('tools/coco_split.py', train, train, 'tools/cr_search.py'),
        *(train, train, 'tools/cr_search.py', train, train, 'tools/test.py'),
    ]
    assert found[3].endswith('--out work_dirs/cr.t5.r101/pattern.json --num-blocks 33')
    stages = 'model.backbone.pattern=work_dirs/cr.t5.r101/pattern.json'
    assert [stages in command for command in found] == [False] * 4 + [True] * 3 + [False] * 3


def test_pose_at_several_scales_is_a_test_of_the_same_network(rows):
    pytest.importorskip('mmpose')
    single, several = commands_of(rows, 'ic.t8.ae.r50.ss'), commands_of(rows, 'ic.t8.ae.r50.ms')
    assert single[:-1] == several[:-1]
    folder = 'configs/ic_conv/pose'
    checkpoint = 'work_dirs/ic.t8.ae.r50.ss/train/epoch_300.pth'
    assert single[-1] == f'tools/test.py {folder}/{POSE}.py {checkpoint}'
    assert several[-1] == f'tools/test.py {folder}/{POSE}-ms.py {checkpoint}'


def test_from_plain_leaves_the_imagenet_trainings_out(rows):
    found = [' '.join(step.command) for step in steps_of(rows, 'ic.t4.rfcn.r50', from_plain=True)]
    supernet = 'work_dirs/faster-rcnn_ic-r50-k9-supernet_fpn_13e_coco'
    assert found == [
        f'tools/train.py {IC}-supernet_fpn_13e_coco.py',
        f'tools/edo_search.py {IC}-supernet_fpn_13e_coco.py {supernet}/epoch_13.pth '
        f'--out {IC_PATTERN}',
        f'tools/train.py configs/ic_conv/{RFCN}.py',
        f'tools/test.py configs/ic_conv/{RFCN}.py work_dirs/{RFCN}/epoch_18.pth',
    ]
    # Its networks have blocks in other stages than a plain one.
    with pytest.raises(ValueError, match=r'cr-r50_100e_in1k.*leave --from-plain out'):
        steps_of(rows, 'cr.t1.r50', from_plain=True)


def test_searched_networks_and_psconv_are_trained_on_imagenet(rows):
    """As their papers do, before a detector or pose estimator starts from them."""
    network = re.compile(r'_((?:ic|ps)-(?:r50|r101|x101-32x4d)(?:-k\d+)?)')
    for row in rows.values():
        method = network.search(row.config or '')
        if row.paper not in ('ic', 'ps') or not method or row.weights_of:
            continue
        assert re.search(rf'/{method[1]}[-_].*in1k', row.pretrain), row.id
        assert ('supernet' in row.pretrain) == ('supernet' in row.config), row.id
        # The figure's supernets have other kernels than the configs.
        if row.supernet and row.table != 'Figure 3':
            assert row.supernet_pretrain.endswith(f'/{method[1]}-supernet_100e_in1k.py'), row.id
        if row.pattern_of:
            assert rows[row.pattern_of].pretrain == row.pretrain, row.id


def test_a_search_that_writes_nowhere(rows):
    row = dataclasses.replace(rows['cr.t5.r50'], pattern=None)
    with pytest.raises(ValueError, match='reads no pattern'):
        steps_of({**rows, row.id: row}, row.id)


def test_mean_of_five_runs(rows):
    found = commands_of(rows, 'do.t1.cifar10.plain_20')
    folders = [f'work_dirs/do.t1.cifar10.plain_20/seed_{seed}' for seed in range(5)]
    config = 'configs/do_conv/cifar/do-plain20_164e_cifar10.py'
    assert found[:5] == [
        f'tools/train.py {config} --work-dir {folder} --cfg-options randomness.seed={seed}'
        for seed, folder in enumerate(folders)
    ]
    assert found[5:] == [f'tools/test.py {config} {folder}/epoch_164.pth' for folder in folders]


@pytest.mark.parametrize(
    'key', [*COMMANDS, 'cr.t6.r50', 'nats.t6.mask_rcnn.r50', 'ic.t9.faster_rcnn.1d']
)
def test_each_step_reads_what_an_earlier_one_wrote(rows, key):
    checkpoints, patterns = set(), set()
    for step in steps_of(rows, key):
        if step.config:
            read_checkpoints, read_patterns = files_read(step)
            assert read_checkpoints <= checkpoints
            assert read_patterns <= patterns
        if step.command[0] == 'tools/train.py':
            folder = option(step, '--work-dir') or f'work_dirs/{Path(step.config).stem}'
            # Epochs by the config's name; MMDetection's 1x has 12.
            number, unit = re.search(r'_(\d+)([ex])_', step.config).groups()
            checkpoints.add(f'{folder}/epoch_{int(number) * (12 if unit == "x" else 1)}.pth')
        patterns.add(option(step, '--out'))


def option(step, name):
    words = step.command
    return words[words.index(name) + 1] if name in words else None


def files_read(step):
    """Checkpoints and patterns of a command, and of its config's text where none replaces them."""
    config = ROOT / 'configs' / step.config
    words, text = ' '.join(step.command), config.read_text()
    checkpoints = set(re.findall(r'work_dirs/\S+\.pth', words))
    if step.command[0] == 'tools/train.py' and 'init_cfg.checkpoint=' not in words:
        checkpoints |= set(re.findall(r"'(work_dirs/\S+\.pth)'", text))
    patterns = set(re.findall(r'backbone\.pattern=(\S+)', words))
    if not patterns:
        folder = PurePosixPath('configs') / Path(step.config).parent
        found = re.findall(r'}}/((?:\.\./)?patterns/[^\']+\.json)', text)
        patterns = {posixpath.normpath(folder / name) for name in found}
    return checkpoints, patterns


def test_inputs(rows):
    assert inputs_of(steps_of(rows, 'cr.t1.r50')) == (['data/coco', 'data/imagenet'], [])
    steps = steps_of(rows, 'ic.t4.rfcn.r50')
    assert inputs_of(steps) == (['data/VOCdevkit', 'data/coco', 'data/imagenet'], [])
    steps = steps_of(rows, 'ic.t4.rfcn.r50', from_plain=True)
    assert inputs_of(steps) == (['data/VOCdevkit', 'data/coco'], ['torchvision://resnet50'])
    # The ImageNet training of its own takes the place of the published weights.
    steps = steps_of(rows, 'do.t5.faster_rcnn.r50.both')
    assert inputs_of(steps) == (['data/coco', 'data/imagenet'], [])


def test_list_counts_and_selects(rows):
    text = call_tool('reproduce.py', 'list').text
    todo = [row for row in rows.values() if resolve(rows, row).todo]
    not_run = [row for row in rows.values() if resolve(rows, row).not_run]
    left = 418 - len(todo) - len(not_run)
    assert f'418 rows: {left} with a config, {len(not_run)} not run, {len(todo)} todo' in text
    text = call_tool('reproduce.py', 'list', '--paper', 'ic', '--table', '10').text
    assert re.findall(r'ic\.t\d+\.\S+(?= *│ Table)', text) == [
        f'ic.t10.faster_rcnn.r50.{part}'
        for part in ('backbone', 'backbone_fpn', 'backbone_fpn_rpn')
    ]
    text = call_tool('reproduce.py', 'list', '--todo').text
    assert f'{len(todo)} rows: 0 with a config, 0 not run, {len(todo)} todo' in text


def test_the_page_has_the_counts(rows):
    owners = [resolve(rows, row) for row in rows.values()]
    counts = [
        sum(bool(getattr(row, kind)) for row in owners) for kind in ('config', 'todo', 'not_run')
    ]
    page = (ROOT / 'docs' / 'reproduce.md').read_text()
    assert re.findall(r'^\| (\d+) \|', page, re.M) == [str(count) for count in counts]


def test_show_prints_the_chain():
    done = call_tool('reproduce.py', 'show', 'ic.t9.faster_rcnn.r50')
    assert done.code == 0
    lines = [shlex.split(line)[1:] for line in done.text.splitlines() if line[:7] == 'python ']
    assert lines == [command.split() for command in COMMANDS['ic.t3.faster_rcnn.r50']]
    for part in ('box_AP 38.9', 'ic.t9.faster_rcnn.base: box_AP 36.4', 'data/coco'):
        assert part in done.text
    note = "starts from the plain network's published ImageNet weights"
    assert note not in done.text
    assert note in call_tool('reproduce.py', 'show', 'ic.t9.faster_rcnn.r50', '--from-plain').text
    # The plain network's own training on ImageNet is left out too.
    plain = call_tool('reproduce.py', 'show', 'ic.t9.faster_rcnn.base', '--from-plain')
    assert note in plain.text
    nats = call_tool('reproduce.py', 'show', 'nats.t2.base', '--from-plain')
    assert note not in nats.text


def test_show_prints_options():
    text = call_tool('reproduce.py', 'show', 'ic.f3.k11').text
    assert 'supernet_options: model.backbone.d_max=5' in text


def test_show_says_why_there_is_nothing_to_run():
    text = call_tool('reproduce.py', 'show', 'do.t2.resnetv1_18.ref').text
    assert "commands: none. GluonCV's published number" in text


def test_show_names_ids_near_an_unknown_one():
    done = call_tool('reproduce.py', 'show', 'ic.t3.faster_rcn.r50')
    assert done.code == 1
    assert 'ic.t3.faster_rcnn.r50' in done.text


def test_report(tmp_path):
    results = tmp_path / 'results.json'
    results.write_text('{"ic.t3.faster_rcnn.r50": {"box_AP": 38.25}}')
    out = tmp_path / 'report.md'
    assert call_tool('reproduce.py', 'report', '--results', results, '--out', out).code == 0
    lines = {line.split(' | ')[0][2:]: line for line in out.read_text().splitlines() if '|' in line}
    # The row itself, those that print it again, and one that was not run.
    row = '| Faster R-CNN (FPN) IC-ResNet50 | box_AP 38.9 | box_AP 36.4 | box_AP 38.25 |  |'
    assert lines['ic.t9.faster_rcnn.r50'] == f'| ic.t9.faster_rcnn.r50 {row}'
    row = '| Faster R-CNN (FPN) NATS-ResNet-50 | box_AP 38.0, box_AP50 60.5'
    assert lines['nats.t5.b'].startswith(f'| nats.t5.b {row}')
    assert lines['nats.t5.b'].endswith(' |  |  |')
    assert 'do.t2.resnetv1_18.ref' not in lines
    done = call_tool('reproduce.py', 'report', '--out', out)
    assert done.code == 1
    assert '--overwrite' in done.text
    page = tmp_path / 'report.html'
    assert call_tool('reproduce.py', 'report', '--results', results, '--out', page).code == 0
    assert '<td>box_AP 38.9</td><td>box_AP 36.4</td><td>box_AP 38.25</td>' in page.read_text()


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        ('[]', 'expected results by row id, got list'),
        ('{"ic.t3.faster_rcn.r50": {}}', 'ic.t3.faster_rcnn.r50'),
        ('{"ic.t1.r50": {"top1": 77.0}}', "no metric 'top1'"),
        ('{"ic.t1.r50": {"top1_acc": "77.0"}}', "expected a number, got '77.0'"),
        ('{"ic.t1.r50": 77.0}', 'expected numbers by metric'),
    ],
)
def test_bad_results(rows, tmp_path, content, message):
    (tmp_path / 'results.json').write_text(content)
    with pytest.raises(BadFileError, match=message) as error:
        read_results(tmp_path / 'results.json', rows)
    assert 'results.json' in str(error.value)


@pytest.mark.parametrize(
    ('entry', 'message'),
    [
        ('not_run: No., confg: a.py', "unknown key 'confg'"),
        ('config: ic_conv/b.py', r'config: there is no configs/ic_conv/b\.py'),
        ('config: ic_conv/a.py, supernet: ic_conv/b.py, search: edo', 'supernet: there is no'),
        ('config: ic_conv/a.py, search: edo', 'search and supernet go together'),
        ('config: ic_conv/a.py, supernet: ic_conv/a.py, search: do', "got 'do'"),
        ('config: ic_conv/a.py, todo: true', 'got config, todo'),
        ('note: Nothing.', 'got none'),
        ('todo: true, baseline: ps.t1.b', r'baseline: there is no row ps\.t1\.b; ps\.t1\.a\?'),
        ('todo: true, baseline: ps.t1.a', 'of another paper'),
        ('same_as: ic.t1.a', 'names itself'),
        ('config: ic_conv/a.py, pattern_of: ps.t1.a', 'searches nothing'),
        ('config: ic_conv/a.py, weights_of: ps.t1.a', 'trains nothing'),
        ('config: ic_conv/a.py, options: d=1', r"options: expected settings by name, got 'd=1'"),
        ('config: ic_conv/a.py, options: {1: 2}', 'expected a name such as .*, got 1'),
        ('config: ic_conv/a.py, options: {a b: 2}', "expected a name such as .*, got 'a b'"),
        ('config: ic_conv/a.py, options: {a.b: {c: 1}}', r"options: a\.b: .*got {'c': 1}"),
        ('config: ic_conv/a.py, options: {a.b: 1e-3}', r"options: a\.b: .*got '1e-3'"),
        ('config: ic_conv/a.py, options: {a.b: "1,2"}', r"options: a\.b: .*got '1,2'"),
        ('config: ic_conv/a.py, options: {a.b: []}', r'options: a\.b: .*got \[\]'),
        ('todo: true, options: {a.b: 1}', 'options change a config, and the row has none'),
        ('config: ic_conv/a.py, supernet_options: {a.b: 1}', 'and the row has none'),
        (
            'config: ic_conv/a.py, supernet: ic_conv/a.py, search: edo, supernet_options: {a: 1}',
            r'need a pattern of their own, work_dirs/ic\.t1\.a/pattern\.json',
        ),
    ],
)
def test_bad_rows(tmp_path, entry, message):
    folder = write_rows(tmp_path, ic=f'ic.t1.a: {{table: Table 1, network: A, {entry}}}')
    with pytest.raises(BadFileError, match=message) as error:
        read_rows(folder)
    assert 'ic.yml' in str(error.value)
    assert 'ic.t1.a' in str(error.value)


@pytest.mark.parametrize(
    'value',
    [0.1, -3, True, None, 'SyncBN', 'data/coco/', [1, 2], [1], [[1, 2], [3, 4]], [0.5, 'a']],
)
def test_options_are_read_as_the_row_gives_them(tmp_path, value):
    line = (
        f'table: Table 1, network: A, config: ic_conv/a.py, options: {json.dumps({"a.b": value})}'
    )
    row = read_rows(write_rows(tmp_path, ic=f'ic.t1.a: {{{line}}}'))['ic.t1.a']
    assert row.options == {'a.b': value}
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_args(['--cfg-options', *option_words(row.options)])
    assert args.cfg_options == {'a.b': value}


def test_bad_files(tmp_path):
    line = '{table: Table 1, network: A, not_run: No.}'
    for number, (text, message) in enumerate(
        [
            (f'ic.t1.a: {line}\nic.t1.a: {line}', 'ic.t1.a stands twice'),
            (f'ps.t1.b: {line}', 'ids in this file start with ic'),
            ('ic.t1.a: {network: A, not_run: No.}', 'table is missing'),
            ('ic.t1.a: 3', 'expected a row, got 3'),
            ('- a', 'expected rows by id, got list'),
            ('ic.t1.a: {', 'ic.yml'),
        ]
    ):
        with pytest.raises(BadFileError, match=message):
            read_rows(write_rows(tmp_path / str(number), ic=text))
