"""Generated data in the formats of real data sets: each host reads it with its own class, from
its own config, and finds what an independent reading of the files says."""

import importlib
import json
import pickle
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import matplotlib.path
import numpy as np
import pytest
import torch
from helpers import ROOT, call_tool
from mmengine.config import Config
from mmengine.registry import DATASETS, METRICS, DefaultScope, init_default_scope
from mmengine.structures import InstanceData
from PIL import Image

from mmic.datasets.generated import FORMATS, make_generated
from mmic.datasets.toy_scene import COMPANION_COLOURS

NUM_TRAIN, NUM_VAL = 6, 3
CLASSES = ('person', 'car', 'bicycle')
# COCO's own, before and after each gap in its numbers.
COCO_IDS = {
    'person': 1, 'fire hydrant': 11, 'stop sign': 13, 'backpack': 27, 'umbrella': 28, 'handbag': 31,
    'bottle': 44, 'wine glass': 46, 'potted plant': 64, 'bed': 65, 'dining table': 67,
    'toilet': 70, 'tv': 72, 'refrigerator': 82, 'book': 84, 'toothbrush': 90,
}  # fmt: skip
CITYSCAPES_IDS = {'person': 11, 'car': 13, 'bicycle': 18}
VOC_IDS = {'person': 15, 'car': 7, 'bicycle': 2}


@pytest.fixture(scope='module')
def root(tmp_path_factory):
    return make_generated(
        tmp_path_factory.mktemp('generated') / 'data', num_train=NUM_TRAIN, num_val=NUM_VAL
    )


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def host_datasets(root, host, name, pipeline=()):
    """Build what a host's config of a data set reads, with the generated data in place of data/.

    Returns:
        tuple: The training and the validation set.
    """
    # Sets of this repository are named by their path.
    path = ROOT / name
    if not path.exists():
        package = importlib.import_module(host)
        path = Path(package.__file__).parent / '.mim' / 'configs' / '_base_' / 'datasets' / name
    text = Config.fromfile(path).pretty_text
    assert "'data/" in text
    cfg = Config.fromstring(text.replace("'data/", f"'{root.as_posix()}/"), '.py')
    with DefaultScope.overwrite_default_scope(host):
        return tuple(
            DATASETS.build(with_pipeline(loader.dataset, list(pipeline)))
            for loader in (cfg.train_dataloader, cfg.val_dataloader)
        )


def with_pipeline(dataset, pipeline):
    """Give a data set, or those that it is made of, another pipeline."""
    if 'dataset' in dataset:
        return dict(dataset, dataset=with_pipeline(dataset['dataset'], pipeline))
    if 'datasets' in dataset:
        parts = [with_pipeline(part, pipeline) for part in dataset['datasets']]
        return dict(dataset, datasets=parts)
    return dict(dataset, pipeline=pipeline)


def coco_objects(root, name):
    """Read an annotation file of COCO by hand: (class, box) of all objects by image file."""
    content = json.loads((root / 'coco' / 'annotations' / f'{name}.json').read_text())
    names = {category['id']: category['name'] for category in content['categories']}
    files = {image['id']: image['file_name'] for image in content['images']}
    found = {file: [] for file in files.values()}
    for annotation in content['annotations']:
        x, y, width, height = annotation['bbox']
        row = (names[annotation['category_id']], (x, y, x + width, y + height))
        found[files[annotation['image_id']]].append(row)
    return found


def found_objects(data, classes):
    """What a data set of mmdet found in an image, in the form of ``coco_objects``."""
    return [
        (classes[instance['bbox_label']], tuple(instance['bbox'])) for instance in data['instances']
    ]


@pytest.mark.parametrize('name', ['coco_detection.py', 'coco_instance.py'])
def test_mmdet_reads_coco(root, name):
    pytest.importorskip('mmdet')
    sets = host_datasets(root, 'mmdet', name)
    for dataset, split, count in zip(sets, ('train2017', 'val2017'), (NUM_TRAIN, NUM_VAL)):
        expected = coco_objects(root, f'instances_{split}')
        assert len(dataset) == len(expected) == count
        assert len(dataset.metainfo['classes']) == len(dataset.cat_ids) == 80
        ids = dict(zip(dataset.metainfo['classes'], dataset.cat_ids))
        assert {name: ids[name] for name in COCO_IDS} == COCO_IDS
        for data in map(dataset.get_data_info, range(count)):
            path = Path(data['img_path'])
            assert path.parent == root / 'coco' / split
            objects = found_objects(data, dataset.metainfo['classes'])
            assert objects == expected[path.name]
            assert objects[0][0] == 'person'
            assert {kind for kind, _ in objects} <= set(CLASSES)
            for instance in data['instances']:
                points = np.reshape(instance['mask'][0], (-1, 2))
                box = [*points.min(0), *points.max(0)]
                np.testing.assert_allclose(box, instance['bbox'], atol=0.01)
            with Image.open(path) as image:
                assert image.size == (data['width'], data['height']) == (192, 192)


def test_images_have_objects_of_several_sizes_and_classes(root):
    kinds, sides = [], []
    for split in ('train2017', 'val2017'):
        for objects in coco_objects(root, f'instances_{split}').values():
            boxes = np.array([box for _, box in objects])
            assert len(boxes) > 1
            assert (boxes >= 0).all()
            assert (boxes <= 192).all()
            smaller = (boxes[:, 2:] - boxes[:, :2]).min(1)
            assert smaller.min() >= 16
            # Above 32 also where the last pixel is not counted.
            assert smaller.max() > 33
            kinds += [kind for kind, _ in objects]
            sides += smaller.tolist()
    assert set(kinds) == set(CLASSES)
    assert min(sides) < 32


def test_splits_of_the_searches_are_those_of_coco(root):
    def ids(name, folder='coco'):
        content = json.loads((root / folder / 'annotations' / f'{name}.json').read_text())
        return {image['id'] for image in content['images']}

    train, val = ids('instances_train2017'), ids('instances_val2017')
    assert ids('instances_val2014') - val == ids('nats_alpha')
    assert ids('instances_val2014') > val
    for first, second in (('nats_weights', 'nats_alpha'), ('archtrain', 'archval')):
        assert ids(first) | ids(second) == train
        assert not ids(first) & ids(second)
        assert not train & val
        assert ids(first, 'toy_coco') | ids(second, 'toy_coco') == ids('train', 'toy_coco')
    files = coco_objects(root, 'nats_alpha')
    assert all((root / 'coco' / 'train2017' / name).exists() for name in files)
    assert all(name.startswith('COCO_val2014_') for name in coco_objects(root, 'instances_val2014'))


def test_mmpose_reads_coco(root):
    pytest.importorskip('mmpose')
    for split, count in (('train', NUM_TRAIN), ('val', NUM_VAL)):
        with DefaultScope.overwrite_default_scope('mmpose'):
            dataset = DATASETS.build(
                dict(
                    type='CocoDataset',
                    data_mode='bottomup',
                    data_root=str(root / 'coco'),
                    ann_file=f'annotations/person_keypoints_{split}2017.json',
                    data_prefix=dict(img=f'{split}2017/'),
                    test_mode=split == 'val',
                    pipeline=[],
                )
            )
        instances = coco_objects(root, f'instances_{split}2017')
        assert len(dataset) == count
        names = [dataset.metainfo['keypoint_id2name'][index] for index in range(17)]
        content = json.loads(Path(dataset.ann_file).read_text())
        assert content['categories'][0]['keypoints'] == names
        bones = {frozenset(bone) for bone in dataset.metainfo['skeleton_links']}
        skeleton = content['categories'][0]['skeleton']
        assert {frozenset((a - 1, b - 1)) for a, b in skeleton} == bones
        for data in map(dataset.get_data_info, range(count)):
            path = Path(data['img_path'])
            people = [box for kind, box in instances[path.name] if kind == 'person']
            # mmpose clips boxes to the last pixel.
            assert np.array_equal(data['bbox'], np.minimum(people, 191))
            assert data['keypoints'].shape == (len(people), 17, 2)
            assert (data['keypoints_visible'] == 1).all()
            for box, points in zip(people, data['keypoints']):
                assert (points >= box[:2]).all()
                assert (points <= box[2:]).all()
                # A flip of the person gives each keypoint the place of its counterpart.
                mirrored = points[dataset.metainfo['flip_indices']]
                mirrored[:, 0] = box[0] + box[2] - mirrored[:, 0]
                np.testing.assert_allclose(mirrored, points, atol=0.02)
                left = names.index('left_shoulder')
                assert points[left, 0] > (box[0] + box[2]) / 2


def parse_voc(path):
    """Read an annotation file of VOC by hand, in the form of ``coco_objects``."""
    objects = []
    for item in ElementTree.parse(path).iter('object'):
        corners = [int(item.find(f'bndbox/{key}').text) for key in ('xmin', 'ymin', 'xmax', 'ymax')]
        objects.append((item.find('name').text, tuple(corners)))
    return objects


def test_mmdet_reads_voc(root):
    pytest.importorskip('mmdet')
    train, val = host_datasets(root, 'mmdet', 'voc0712.py')
    # Three times what 2007 and 2012 have; mmdet's config repeats them.
    assert len(train) == 3 * (NUM_TRAIN + NUM_TRAIN + NUM_VAL)
    assert len(val) == NUM_VAL
    for dataset in (*train.dataset.datasets, val):
        assert len(dataset.metainfo['classes']) == 20
        for data in map(dataset.get_data_info, range(len(dataset))):
            assert Path(data['img_path']).is_file()
            expected = [
                # mmdet counts pixels from 0, and the last one of a box is in it.
                (kind, tuple(value - 1 for value in box))
                for kind, box in parse_voc(data['xml_path'])
            ]
            assert found_objects(data, dataset.metainfo['classes']) == expected
            # Of the configs' filters this one ignores the most.
            ignored = [instance['ignore_flag'] for instance in data['instances']]
            sides = [min(c - a, d - b) for _, (a, b, c, d) in expected]
            assert ignored == [side < (dataset.bbox_min_size or 0) for side in sides]
            assert not all(ignored)


def test_voc_2007_shows_what_coco_shows(root):
    names = (root / 'VOCdevkit/VOC2007/ImageSets/Main/trainval.txt').read_text().split()
    for name, expected in zip(names, coco_objects(root, 'instances_train2017').values()):
        objects = parse_voc(root / f'VOCdevkit/VOC2007/Annotations/{name}.xml')
        assert objects == [(kind, (a + 1, b + 1, c, d)) for kind, (a, b, c, d) in expected]


def test_mmdet_reads_crowdhuman_and_writes_nothing(root):
    pytest.importorskip('mmdet')
    before = contents(root / 'CrowdHuman')
    sets = host_datasets(root, 'mmdet', 'configs/_base_/datasets/crowdhuman.py')
    for dataset, split, count in zip(sets, ('train', 'val'), (NUM_TRAIN, NUM_VAL)):
        assert len(dataset) == count
        for index, expected in enumerate(coco_objects(root, f'instances_{split}2017').values()):
            data = dataset.get_data_info(index)
            assert Path(data['img_path']).is_file()
            rows = [(item['bbox_label'], tuple(item['bbox'])) for item in data['instances']]
            assert rows == [(0 if kind == 'person' else -1, box) for kind, box in expected]
    assert contents(root / 'CrowdHuman') == before


def test_crowdhuman_metric_is_perfect_for_its_own_boxes(root):
    pytest.importorskip('mmdet')
    init_default_scope('mmdet')
    file = str(root / 'CrowdHuman' / 'annotation_val.odgt')
    metric = METRICS.build(
        dict(type='mmic.CrowdHumanRecallMetric', ann_file=file, metric=['AP', 'MR'])
    )
    for line in Path(file).read_text().splitlines():
        record = json.loads(line)
        boxes = [item['fbox'] for item in record['gtboxes'] if item['tag'] == 'person']
        boxes = torch.tensor(boxes, dtype=torch.float32)
        boxes[:, 2:] += boxes[:, :2]
        found = InstanceData(bboxes=boxes, scores=torch.ones(len(boxes)))
        metric.process({}, [dict(img_id=record['ID'], ori_shape=(192, 192), pred_instances=found)])
    scores = metric.evaluate(NUM_VAL)
    assert scores['crowd_human/Recall'] == 1
    assert scores['crowd_human/mMR'] == 0


def test_mmpretrain_reads_imagenet(root):
    pytest.importorskip('mmpretrain')
    sets = host_datasets(root, 'mmpretrain', 'imagenet_bs32.py', [dict(type='LoadImageFromFile')])
    for dataset, count in zip(sets, (NUM_TRAIN, NUM_VAL)):
        assert len(dataset) == count
        assert len(dataset.CLASSES) == 1000
        assert dataset.get_gt_labels().tolist() == [0, 1, 2] * (count // 3)
        for data in dataset:
            assert data['img'].shape == (192, 192, 3)
            # The class is the colour of the bars around the largest object.
            colour = np.array(COMPANION_COLOURS[data['gt_label']][::-1])
            assert (abs(data['img'].astype(int) - colour).max(-1) < 20).sum() > 50
            synset = Path(data['img_path']).parent.name
            assert synset == ('n01440764', 'n01443537', 'n01484850')[data['gt_label']]


def cifar(root, name, split, **kwargs):
    folder = str(root / name.replace('GeneratedCIFAR', 'cifar').replace('CIFAR', 'cifar'))
    with DefaultScope.overwrite_default_scope('mmpretrain'):
        return DATASETS.build(dict(type=name, data_root=folder, split=split, pipeline=[], **kwargs))


@pytest.mark.parametrize('classes', [10, 100])
def test_mmpretrain_reads_cifar_but_for_the_checksums(root, classes):
    pytest.importorskip('mmpretrain')
    for split, folder, count in (('train', 'train', NUM_TRAIN), ('test', 'val', NUM_VAL)):
        dataset = cifar(root, f'GeneratedCIFAR{classes}', split)
        assert len(dataset) == count
        assert len(dataset.CLASSES) == classes
        lines = (root / 'imagenet' / 'meta' / f'{folder}.txt').read_text().splitlines()
        for index, line in enumerate(lines):
            file, label = line.split()
            data = dataset.get_data_info(index)
            assert data['gt_label'] == int(label)
            assert data['img'].shape == (32, 32, 3)
            # The same scene is ImageNet's image: 36 of its pixels are one of CIFAR's.
            with Image.open(root / 'imagenet' / folder / file) as image:
                large = np.asarray(image, float).reshape(32, 6, 32, 6, 3).mean((1, 3))
            error = abs(large - data['img']).mean()
            swapped = abs(large[..., ::-1] - data['img']).mean()
            assert error < 1
            assert swapped > 3 * error
    with pytest.raises(RuntimeError, match=f'Cannot find CIFAR{classes} dataset'):
        cifar(root, f'CIFAR{classes}', 'train', download=False)


def test_cifar_batches_are_as_in_the_original(root):
    names = [f'data_batch_{index}' for index in range(1, 6)]
    batches = [
        pickle.loads((root / 'cifar10' / 'cifar-10-batches-py' / name).read_bytes())
        for name in names
    ]
    assert sum(len(batch['labels']) for batch in batches) == NUM_TRAIN
    for batch in batches:
        assert batch['data'].dtype == np.uint8
        assert batch['data'].shape == (len(batch['labels']), 3072)
    fine = pickle.loads((root / 'cifar100' / 'cifar-100-python' / 'train').read_bytes())
    assert np.array_equal(fine['data'], np.concatenate([batch['data'] for batch in batches]))
    # Apples are fruit and vegetables, aquarium fish are fish, babies are people.
    assert fine['coarse_labels'] == [4, 1, 14] * 2


def test_cifar_of_another_origin_is_refused(root, tmp_path):
    pytest.importorskip('mmpretrain')
    folder = tmp_path / 'cifar100' / 'cifar-100-python'
    folder.mkdir(parents=True)
    for file in (root / 'cifar100' / 'cifar-100-python').iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    with pytest.raises(RuntimeError, match='Cannot find GeneratedCIFAR100'):
        cifar(tmp_path, 'GeneratedCIFAR100', 'train')


def draw_maps(root, name, ids):
    """Of each image of a file of COCO, every pixel's class, from the polygons; 0 for none."""
    content = json.loads((root / 'coco' / 'annotations' / f'{name}.json').read_text())
    names = {category['id']: category['name'] for category in content['categories']}
    maps = {image['id']: np.zeros((192, 192), int) for image in content['images']}
    centres = np.stack(np.meshgrid(np.arange(192) + 0.5, np.arange(192) + 0.5), -1).reshape(-1, 2)
    for item in content['annotations']:
        outline = matplotlib.path.Path(np.reshape(item['segmentation'][0], (-1, 2)))
        inside = outline.contains_points(centres).reshape(192, 192)
        maps[item['image_id']][inside] = ids[names[item['category_id']]]
    return list(maps.values())


def near_an_edge(labels, distance):
    """Whether each pixel has another value within some pixels."""
    side = 2 * distance + 1
    padded = np.pad(labels, distance)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (side, side))
    return (windows != labels[..., None, None]).any((2, 3))


def compare_maps(found, expected):
    """Check a label map: void along outlines inside of objects, correct elsewhere."""
    void = found == 255
    wrong = (found != expected) & ~void
    # Pixels whose centre is next to an outline may be drawn either way.
    assert wrong.sum() < 40
    assert near_an_edge(expected, 1)[wrong].all()
    assert void.any()
    assert near_an_edge(expected, 5)[void].all()
    assert near_an_edge(expected, 1)[void & (expected == 0)].all()


SEGMENTATION = [dict(type='LoadImageFromFile'), dict(type='LoadAnnotations')]


def test_mmseg_reads_cityscapes(root):
    pytest.importorskip('mmseg')
    sets = host_datasets(root, 'mmseg', 'cityscapes.py', SEGMENTATION)
    for dataset, split, count in zip(sets, ('train', 'val'), (NUM_TRAIN, NUM_VAL)):
        classes = dataset.metainfo['classes']
        assert len(dataset) == count
        assert all(classes[index] == name for name, index in CITYSCAPES_IDS.items())
        expected = draw_maps(root, f'instances_{split}2017', CITYSCAPES_IDS)
        files = sorted((root / 'coco' / f'{split}2017').iterdir())
        for data, labels, file in zip(dataset, expected, files):
            compare_maps(data['gt_seg_map'], labels)
            with Image.open(file) as image:
                difference = np.asarray(image, int)[..., ::-1] - data['img']
            assert abs(difference).mean() < 4


@pytest.mark.parametrize(
    ('name', 'num_train'), [('pascal_voc12.py', NUM_TRAIN), ('pascal_voc12_aug.py', 2 * NUM_TRAIN)]
)
def test_mmseg_reads_voc(root, name, num_train):
    pytest.importorskip('mmseg')
    train, val = host_datasets(root, 'mmseg', name, SEGMENTATION)
    assert len(train) == num_train
    assert len(val) == NUM_VAL
    assert all(val.metainfo['classes'][index] == name for name, index in VOC_IDS.items())
    folder = root / 'VOCdevkit' / 'VOC2012'
    for data in [*train, *val]:
        objects = parse_voc(folder / 'Annotations' / f'{Path(data["img_path"]).stem}.xml')
        labels = data['gt_seg_map']
        assert set(np.unique(labels)) == {0, 255, *(VOC_IDS[kind] for kind, _ in objects)}
        left = labels.copy()
        for kind, (x1, y1, x2, y2) in objects:
            box = (slice(y1 - 1, y2), slice(x1 - 1, x2))
            inside = labels[box]
            assert labels[(y1 + y2) // 2, (x1 + x2) // 2] == VOC_IDS[kind]
            assert set(np.unique(inside)) <= {0, 255, VOC_IDS[kind]}
            # Objects reach all four sides of their box, if only with a corner that is hard to see.
            sides = (inside[:3], inside[-3:], inside[:, :3], inside[:, -3:])
            assert all((side == 255).any() for side in sides)
            left[box] = 0
        assert not left.any()


def test_voc_masks_and_lists_are_those_of_the_augmented_set(root):
    folder = root / 'VOCdevkit' / 'VOC2012'

    def names(name):
        return (folder / 'ImageSets' / 'Segmentation' / f'{name}.txt').read_text().split()

    train, val, aug = names('train'), names('val'), names('aug')
    assert len({*train, *val, *aug}) == 2 * NUM_TRAIN + NUM_VAL
    assert names('trainaug') == train + aug
    masks = {path.stem for path in (folder / 'SegmentationClass').iterdir()}
    assert masks == {*train, *val}
    assert {p.stem for p in (folder / 'SegmentationClassAug').iterdir()} == {*masks, *aug}
    with Image.open(folder / 'SegmentationClass' / f'{train[0]}.png') as mask:
        palette = np.reshape(mask.getpalette(), (256, 3)).tolist()
    # Of VOC's own colours: background, person, tvmonitor, void.
    colours = [[0, 0, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]]
    assert [palette[index] for index in (0, 15, 20, 255)] == colours


def test_same_seed_same_bytes_other_seed_other_images(root, tmp_path):
    options = dict(num_train=NUM_TRAIN, num_val=NUM_VAL)
    assert contents(make_generated(tmp_path / 'again', **options)) == contents(root)
    formats = ['coco', 'imagenet']
    other = contents(make_generated(tmp_path / 'other', formats, seed=1, **options))
    first = contents(root)
    images = [name for name in other if name.endswith(('.jpg', '.JPEG'))]
    assert len(images) == 2 * (NUM_TRAIN + NUM_VAL)
    assert all(other[name] != first[name] for name in images)


def test_every_image_is_counted_and_a_second_call_draws_none(tmp_path):
    drawn = []
    counts = dict.fromkeys(FORMATS, 2 + 1)
    # 2007: trainval, test; 2012: train, val, aug.
    counts['VOCdevkit'] = 2 + 1 + 2 + 1 + 2
    for name, count in counts.items():
        options = dict(num_train=2, num_val=1, on_image=lambda: drawn.append(1))
        assert make_generated(tmp_path / 'data', [name], **options) == tmp_path / 'data'
        assert len(drawn) == count
        make_generated(tmp_path / 'data', [name], **options)
        assert len(drawn) == count
        drawn.clear()
    assert {path.name for path in (tmp_path / 'data').iterdir()} == set(FORMATS)


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path, overwrite):
    (tmp_path / 'coco' / 'train2017').mkdir(parents=True)
    with pytest.raises(FileExistsError, match='coco exists and was not made by tools/generated'):
        make_generated(tmp_path, ['cifar10', 'coco'], overwrite=overwrite)
    assert sorted(path.name for path in tmp_path.rglob('*')) == ['coco', 'train2017']


def test_other_parameters_are_refused_before_any_work(tmp_path):
    small = dict(num_train=2, num_val=1)
    make_generated(tmp_path, ['imagenet'], **small)
    before = contents(tmp_path)
    with pytest.raises(FileExistsError, match=r'seed 0 \(asked for: 3\).*--overwrite'):
        make_generated(tmp_path, ['cifar10', 'imagenet'], seed=3, **small)
    assert contents(tmp_path) == before
    make_generated(tmp_path, ['imagenet'], seed=3, overwrite=True, **small)
    after = contents(tmp_path)
    assert after.keys() == before.keys()
    assert after != before


def test_nothing_is_left_when_it_is_interrupted(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_generated(tmp_path, ['coco'], on_image=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(formats=['coco', 'lvis']), "no format 'lvis'; there are: .*coco"),
        (dict(num_train=1), 'num_train must be an integer from 2, got 1'),
        (dict(num_val=0), 'num_val must be an integer from 1, got 0'),
        (dict(seed=-1), 'seed must be an integer from 0, got -1'),
    ],
)
def test_impossible_parameters_are_named(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        make_generated(tmp_path / 'data', **options)
    assert not (tmp_path / 'data').exists()


def test_command_makes_it_and_explains_a_refusal(tmp_path):
    def run(*more):
        command = ['--num-train', 2, '--num-val', 1, '--formats', 'coco', 'imagenet', *more]
        return call_tool('generated_data.py', '--out', tmp_path / 'data', *command)

    done = run()
    assert done.code == 0
    assert f'Made 6 images in {tmp_path / "data"} (coco, imagenet)' in done.text
    assert sorted(path.name for path in (tmp_path / 'data').iterdir()) == ['coco', 'imagenet']
    assert 'Found, with the same parameters:' in run().text
    refused = run('--seed', 5)
    assert refused.code == 1
    assert 'seed 0 (asked for: 5)' in refused.text
    assert 'Made 6 images' in run('--seed', 5, '--overwrite').text
