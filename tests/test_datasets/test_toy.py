"""The toy task: valid COCO data, reproducible, and with the class outside the boxes only."""

import dataclasses
import json
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmic.datasets import make_toy_coco
from mmic.datasets.toy import describe
from mmic.datasets.toy_draw import draw_scene
from mmic.datasets.toy_scene import CLASSES, GAP, plan_scene

TOOL = Path(__file__).parents[2] / 'tools' / 'toy_coco.py'


def scenes(count=20, size=256):
    return [plan_scene(np.random.default_rng(seed), size) for seed in range(count)]


def inside(image, box):
    x, y, width, height = box
    return image[y : y + height, x : x + width]


def relabel(scene, shift):
    objects = tuple(
        dataclasses.replace(item, label=(item.label + shift) % len(CLASSES))
        for item in scene.objects
    )
    return dataclasses.replace(scene, objects=objects)


@pytest.fixture(scope='module')
def toy(tmp_path_factory):
    return make_toy_coco(tmp_path_factory.mktemp('toy') / 'coco', num_train=60, num_val=40)


@pytest.fixture(scope='module')
def coco(toy):
    api = pytest.importorskip('pycocotools.coco')
    return api.COCO(str(toy / 'annotations' / 'train.json'))


def contents(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob('*') if p.is_file()}


def test_pycocotools_loads_it(toy, coco):
    assert [c['name'] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    assert len(coco.getImgIds()) == 60
    assert len(json.loads((toy / 'annotations' / 'val.json').read_text())['images']) == 40
    for image in coco.loadImgs(coco.getImgIds()):
        with Image.open(toy / 'train' / image['file_name']) as picture:
            assert picture.size == (image['width'], image['height']) == (256, 256)
            assert picture.mode == 'RGB'


def test_every_image_has_objects_of_every_class_somewhere(coco):
    assert all(coco.getAnnIds(imgIds=i) for i in coco.getImgIds())
    counts = [len(coco.getAnnIds(catIds=c)) for c in coco.getCatIds()]
    assert min(counts) > 0.6 * max(counts)


@pytest.mark.parametrize(
    ('low', 'high'), [(0, 32**2), (32**2, 96**2), (96**2, 1e5)], ids=['small', 'medium', 'large']
)
@pytest.mark.parametrize('split', ['train', 'val'])
def test_size_buckets_are_populated(toy, split, low, high):
    annotations = json.loads((toy / 'annotations' / f'{split}.json').read_text())['annotations']
    assert sum(low <= a['area'] < high for a in annotations) >= 0.05 * len(annotations)


def test_boxes_lie_in_the_image_and_span_8_to_160_pixels(coco):
    boxes = np.array([a['bbox'] for a in coco.anns.values()])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, :2] + boxes[:, 2:] <= 256).all()
    assert boxes[:, 2:].min() == 8
    assert 130 < boxes[:, 2:].max() <= 160
    ratios = boxes[:, 2] / boxes[:, 3]
    assert ratios.min() < 0.6
    assert ratios.max() > 1.7


def test_polygon_box_and_area_agree(coco):
    for annotation in coco.anns.values():
        points = np.array(annotation['segmentation'][0]).reshape(-1, 2)
        x, y, width, height = annotation['bbox']
        np.testing.assert_allclose(points.min(0), (x, y), atol=0.01)
        np.testing.assert_allclose(points.max(0), (x + width, y + height), atol=0.01)
        # pycocotools counts pixels, so it may be off by one along the outline.
        mask = coco.annToMask(annotation)
        assert abs(mask.sum() - annotation['area']) <= 0.5 * (width + height)


def test_keypoints_lie_on_the_object(coco):
    for annotation in coco.anns.values():
        points = np.array(annotation['keypoints']).reshape(-1, 3)
        x, y, width, height = annotation['bbox']
        assert annotation['num_keypoints'] == len(points) == 5
        assert (points[:, 2] == 2).all()
        assert points[:, 0].min() == x
        assert points[:, 0].max() == x + width
        assert points[:, 1].min() == y
        assert points[:, 1].max() == y + height
    category = coco.loadCats(1)[0]
    assert len(category['keypoints']) == 5
    assert max(max(bone) for bone in category['skeleton']) == 5


def test_pixels_drawn_are_those_annotated():
    mask_api = pytest.importorskip('pycocotools.mask')
    for scene in scenes():
        for item in scene.objects:
            others = tuple(other for other in scene.objects if other is not item)
            without = draw_scene(dataclasses.replace(scene, objects=others))
            changed = (draw_scene(scene) != without).any(-1)
            for bar in item.companions:
                inside(changed, bar)[:] = False
            rle = mask_api.frPyObjects(describe(item)['segmentation'], 256, 256)
            annotated = mask_api.decode(mask_api.merge(rle)).astype(bool)
            # Smoothed edges touch pixels that the outline only crosses.
            outline = 2 * sum(item.box[2:])
            assert (changed & ~annotated).sum() <= outline
            assert (annotated & ~changed).sum() <= 0.02 * annotated.sum() + outline / 4


def test_companions_lie_outside_the_box_at_their_distance():
    for scene in scenes(60):
        for item in scene.objects:
            assert 1 <= len(item.companions) <= 4
            x, y, width, height = item.box
            for left, top, across, down in item.companions:
                gaps = (left - x - width, x - left - across, top - y - height, y - top - down)
                assert GAP[0] * item.side <= max(gaps) <= GAP[1] * item.side + 1
                assert min(left, top) >= 0
                assert max(left + across, top + down) <= scene.size


def test_class_changes_the_companions_and_nothing_else():
    for scene in scenes():
        image = draw_scene(scene)
        for shift in (1, 2):
            other = draw_scene(relabel(scene, shift))
            changed = (image != other).any(-1)
            for item in scene.objects:
                assert not inside(changed, item.box).any()
                for bar in item.companions:
                    assert inside(changed, bar).all()
                    inside(changed, bar)[:] = False
            assert not changed.any()


def test_class_is_independent_of_what_is_inside(coco):
    sides = {c: [] for c in coco.getCatIds()}
    for annotation in coco.anns.values():
        sides[annotation['category_id']].append(np.log(annotation['area']) / 2)
    means = [np.mean(values) for values in sides.values()]
    spread = np.std(np.concatenate(list(sides.values())))
    assert max(means) - min(means) < 0.6 * spread


def test_same_seed_same_bytes_other_seed_other_bytes(tmp_path):
    first, again, other = (
        contents(make_toy_coco(tmp_path / name, num_train=4, num_val=3, seed=seed))
        for name, seed in (('first', 3), ('again', 3), ('other', 4))
    )
    assert first == again
    assert len(first) == 4 + 3 + 3
    assert all(first[name] != other[name] for name in first)


def test_train_and_val_differ(toy):
    assert (toy / 'train' / '000000.png').read_bytes() != (toy / 'val' / '000000.png').read_bytes()


def test_an_equal_folder_is_reused_and_another_refused(tmp_path):
    small = dict(num_train=2, num_val=1)
    root = make_toy_coco(tmp_path / 'toy', **small)
    drawn = []
    made = (root / 'toy_coco.json').stat().st_mtime_ns
    make_toy_coco(root, **small, on_image=lambda: drawn.append(1))
    assert not drawn
    assert (root / 'toy_coco.json').stat().st_mtime_ns == made
    with pytest.raises(FileExistsError, match=r'seed 0 \(asked for: 1\).*--overwrite'):
        make_toy_coco(root, **small, seed=1)
    before = contents(root)
    make_toy_coco(root, **small, seed=1, overwrite=True)
    assert contents(root) != before
    assert [path.name for path in tmp_path.iterdir()] == ['toy']


@pytest.mark.parametrize('overwrite', [False, True])
def test_a_folder_of_somebody_else_is_never_replaced(tmp_path, overwrite):
    (tmp_path / 'thesis.txt').write_text('three years of work')
    with pytest.raises(FileExistsError, match='not made by the toy data generator'):
        make_toy_coco(tmp_path, num_train=1, num_val=1, overwrite=overwrite)
    assert (tmp_path / 'thesis.txt').exists()


def test_nothing_is_left_when_it_is_interrupted(tmp_path):
    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        make_toy_coco(tmp_path / 'toy', num_train=2, num_val=1, on_image=stop)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ('name', 'value'),
    [('num_train', 0), ('num_val', -1), ('image_size', 100), ('seed', -1), ('num_val', 2.5)],
)
def test_impossible_parameters_are_named(tmp_path, name, value):
    with pytest.raises(ValueError, match=f'{name} must be an integer from .*, got {value}'):
        make_toy_coco(tmp_path / 'toy', **{name: value})


def test_command_makes_it_and_explains_a_refusal(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*more):
        command = ['toy_coco.py', '--num-train', '2', '--num-val', '1', '--out', 'toy', *more]
        monkeypatch.setattr(sys, 'argv', command)
        runpy.run_path(str(TOOL), run_name='__main__')
        return capsys.readouterr().out

    assert 'Made' in run()
    assert 'Found' in run()
    with pytest.raises(SystemExit, match=r'toy_coco: toy holds .*seed 0 \(asked for: 5\)'):
        run('--seed', '5')
    assert 'Made' in run('--seed', '5', '--overwrite')
