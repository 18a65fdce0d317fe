"""What a row's runs measured: names and units of the papers, their protocols, the results file."""

import dataclasses
import json

import pytest

from mmic.engine.report import read_results, report_markdown
from mmic.engine.reproduce import Step
from mmic.engine.row_metrics import mean_metrics, measured, paper_metrics, run_metrics
from mmic.engine.rows import read_rows
from mmic.engine.run_rows import add_results


@pytest.fixture(scope='module')
def rows():
    return read_rows()


@pytest.mark.parametrize(
    ('values', 'expected'),
    [
        (
            {
                'coco/bbox_mAP': 0.389,
                'coco/bbox_mAP_50': 0.616,
                'coco/bbox_mAP_75': 0.418,
                'coco/bbox_mAP_s': -1.0,
                'coco/bbox_mAP_m': 0.423,
                'coco/bbox_mAP_l': 0.505,
                'coco/segm_mAP': 0.359,
                'coco/segm_mAP_50': 0.584,
                'data_time': 0.1,
            },
            {
                'box_AP': 38.9,
                'box_AP50': 61.6,
                'box_AP75': 41.8,
                'box_APm': 42.3,
                'box_APl': 50.5,
                'mask_AP': 35.9,
                'mask_AP50': 58.4,
            },
        ),
        (
            {'accuracy/top1': 78.874, 'accuracy/top5': 94.276},
            {'top1_acc': 78.874, 'top5_acc': 94.276, 'top1_err': 21.126, 'top5_err': 5.724},
        ),
        ({'pascal_voc/mAP': 0.8162, 'pascal_voc/AP50': 0.816}, {'voc_AP50': 81.6}),
        (
            {'crowd_human/mAP': 0.7568, 'crowd_human/mMR': 0.5882, 'crowd_human/Recall': 0.7932},
            {'box_AP': 75.68, 'MR_minus2': 58.82, 'recall': 79.32},
        ),
        (
            {'coco/AP': 0.622, 'coco/AP .5': 0.846, 'coco/AP .75': 0.678, 'coco/AP (M)': 0.552}
            | {'coco/AP (L)': 0.722, 'coco/AR': 0.675, 'coco/AR .5': 0.9},
            {'kpt_AP': 62.2, 'kpt_AP50': 84.6, 'kpt_AP75': 67.8, 'kpt_APm': 55.2, 'kpt_APl': 72.2}
            | {'kpt_AR': 67.5},
        ),
        ({'aAcc': 95.9, 'mIoU': 78.71, 'mAcc': 86.0}, {'mIoU': 78.71}),
    ],
)
def test_names_and_units_are_the_papers(values, expected):
    assert paper_metrics(values) == expected


def write_validations(folder, start, *accuracies, first=1):
    """Write what a training logs: iterations, and a line of metrics after each epoch."""
    file = folder / start / 'vis_data' / 'scalars.json'
    file.parent.mkdir(parents=True)
    lines = []
    for epoch, top1 in enumerate(accuracies, first):
        lines.append({'loss': 1.0, 'epoch': epoch, 'step': 100 * epoch})
        lines.append({'accuracy/top1': top1, 'accuracy/top5': top1 + 9, 'step': epoch})
    file.write_text(''.join(json.dumps(line) + '\n' for line in lines))


def write_test(folder, start, **values):
    (folder / start).mkdir(parents=True)
    (folder / start / f'{start}.json').write_text(json.dumps(values))


def test_protocols(rows, tmp_path):
    """Epochs that were run twice count once, as the later run has them."""
    write_validations(tmp_path / 'train', '20260101_000000', 10, 90, 30, 40, 0)
    write_validations(tmp_path / 'train', '20260102_000000', 50, 60, 70, first=5)
    write_test(tmp_path / 'test', '20260103_000000', **{'accuracy/top1': 1})
    write_test(tmp_path / 'test', '20260104_000000', **{'accuracy/top1': 71})

    def top1(key):
        return run_metrics(rows[key], tmp_path / 'train', tmp_path / 'test')['top1_acc']

    # Epochs 3 to 7 are 30, 40, 50, 60, 70.
    assert top1('do.t1.cifar10.plain_20') == 50
    assert top1('ps.t1.r50') == 90
    assert top1('ps.t6.x29_8x64d') == top1('do.t2.plain_18') == top1('ic.t1.r18') == 71
    with pytest.raises(FileNotFoundError, match='of a training'):
        run_metrics(rows['ps.t1.r50'], tmp_path / 'test', tmp_path / 'test')
    with pytest.raises(FileNotFoundError, match='of a test'):
        run_metrics(rows['ic.t1.r18'], tmp_path / 'train', tmp_path / 'none')


def test_mean_and_deviation():
    runs = [{'top1_err': value, 'top5_err': 5.0} for value in (17.0, 17.5, 16.5, 17.2, 17.3)]
    runs[0]['mIoU'] = 1.0  # which the others lack
    # Of the deviations -0.1, 0.4, -0.6, 0.1, 0.2 the squares sum to 0.58.
    assert mean_metrics(runs) == {
        'top1_err': 17.1,
        'top1_err_std': round((0.58 / 4) ** 0.5, 3),
        'top5_err': 5.0,
        'top5_err_std': 0.0,
    }
    assert mean_metrics(runs[1:2]) == {'top1_err': 17.5, 'top5_err': 5.0}


def test_results_of_a_row(rows, tmp_path):
    """Two runs; only what PSConv prints: errors, and their deviation."""
    row = dataclasses.replace(rows['ps.t6.x29_8x64d'], runs=2)
    steps = []
    for seed, top1 in enumerate((82.0, 84.0)):
        write_test(tmp_path / f'test_{seed}', 'now', **{'accuracy/top1': top1})
        command = ('tools/test.py', 'config', f'seed_{seed}/epoch_300.pth')
        steps.append(Step('test', (*command, '--work-dir', f'test_{seed}')))
    values = measured(rows, row, steps, tmp_path)
    assert values == {'top1_err': 17.0, 'top1_err_std': round(2**0.5, 3)}
    path = tmp_path / 'results.json'
    add_results(path, row.id, {'top1_err': 1.0})
    add_results(path, 'ic.t1.r18', {'top1_acc': 71.0})
    add_results(path, row.id, values)
    results = read_results(path, rows)
    assert results == {row.id: values, 'ic.t1.r18': {'top1_acc': 71.0}}
    assert '| top1_err 17.0, top1_err_std 1.414 |' in report_markdown(rows, results)


def test_architectures_that_were_found(rows, tmp_path):
    """A pattern's dilations are one more than the codes of the paper's Table 6."""
    layer = {'kernel_size': [3, 3], 'in_channels': 4, 'groups': 1, 'dilations': [[1, 1, 4]]}
    head = dict(format='mmic.pattern', version=1, method='cr_nas', layers={'layer1.0.conv2': layer})
    steps = [Step('test', ('tools/test.py', 'config', 'a/b.pth', '--work-dir', 'test'))]
    write_test(tmp_path / 'test', 'now', **{'coco/bbox_mAP': 0.338})
    best = {'stage': [1, 1, 2, 4], 'operation': [1, 1, 2, 1, 2, 1, 3, 2]}
    for kind, architecture in best.items():
        meta = {'kind': kind, 'best': [{'architecture': architecture, 'score': 0.3}]}
        content = dict(head, stage_blocks=[1, 1, 2, 4], meta=meta)
        (tmp_path / f'{kind}.json').write_text(json.dumps(content))
        steps.append(Step('search', ('tools/cr_search.py', kind), writes=(f'{kind}.json',)))
    values = measured(rows, rows['cr.t6.r18'], steps, tmp_path)
    assert values == {'box_AP': 33.8, **rows['cr.t6.r18'].architecture}
    path = tmp_path / 'results.json'
    add_results(path, 'cr.t6.r18', values)
    assert read_results(path, rows) == {'cr.t6.r18': values}
    add_results(path, 'cr.t6.r18', {'stages': [1, 'a']})
    with pytest.raises(ValueError, match='stages: expected whole numbers'):
        read_results(path, rows)


def test_accuracy_of_the_imagenet_training(rows, tmp_path):
    """Beside the detector's result, which does not depend on it; a supernet's is left out."""
    write_validations(tmp_path / 'pre', 'now', 70.0, 76.5, 76.25)
    write_validations(tmp_path / 'supernet', 'now', 50.0)
    write_test(tmp_path / 'test', 'now', **{'coco/bbox_mAP': 0.383})
    train = 'tools/train.py'
    steps = [
        Step('train the supernet on ImageNet', (train, 'a'), 'a', ('supernet/epoch_1.pth',)),
        Step('train on ImageNet', (train, 'b'), 'b', ('pre/epoch_3.pth',)),
        Step('train', (train, 'c'), 'c', ('c/epoch_13.pth',)),
        Step('test', ('tools/test.py', 'c', 'c/epoch_13.pth', '--work-dir', 'test'), 'c'),
    ]
    values = measured(rows, rows['cr.t1.r50'], steps, tmp_path)
    assert values == {'box_AP': 38.3, 'top1_acc': 76.25}
    gone = steps[:1] + steps[2:]
    assert measured(rows, rows['cr.t1.r50'], gone, tmp_path) == {'box_AP': 38.3}
    lost = [dataclasses.replace(steps[1], writes=('lost/epoch_3.pth',)), steps[3]]
    assert measured(rows, rows['cr.t1.r50'], lost, tmp_path) == {'box_AP': 38.3}
