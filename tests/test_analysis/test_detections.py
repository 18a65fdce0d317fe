"""Detections side by side: what is drawn where, and the command on generated data."""

import json

import numpy as np
import pytest
import torch
from helpers import build_model, call_tool, picture_colours, write_detector_config
from matplotlib.colors import to_rgb
from PIL import Image

from mmic.analysis.detections import Instance, detections_figure

pytest.importorskip('mmdet.models', reason='mmdet is not installed')

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)
MASK_RCNN = """
_base_ = './plain.py'
model = dict(
    type='MaskRCNN',
    backbone=dict(type='PSResNet'),
    roi_head=dict(
        mask_roi_extractor=dict(
            type='SingleRoIExtractor', out_channels=16, featmap_strides=[4, 8, 16, 32],
            roi_layer=dict(type='RoIAlign', output_size=14, sampling_ratio=1)),
        mask_head=dict(
            type='FCNMaskHead', num_convs=1, in_channels=16, conv_out_channels=8, num_classes=3)),
    train_cfg=dict(rcnn=dict(mask_size=28)),
    test_cfg=dict(rcnn=dict(mask_thr_binary=0.5)))
"""


def picture(path, width, height):
    """Write an image of one colour."""
    Image.new('RGB', (width, height), (200, 200, 200)).save(path)
    return str(path)


@pytest.fixture(scope='module')
def detectors(tmp_path_factory, toy_data):
    """A plain Faster R-CNN and a Mask R-CNN with PSConv, random weights, as command arguments."""
    folder = tmp_path_factory.mktemp('detectors')
    torch.manual_seed(0)
    configs = [write_detector_config(folder / 'plain.py', toy_data, type='ResNet')]
    configs.append(folder / 'masks.py')
    configs[1].write_text(MASK_RCNN)
    arguments = []
    for config in configs:
        checkpoint = config.with_suffix('.pth')
        torch.save({'state_dict': build_model(config).state_dict()}, checkpoint)
        arguments += [config, checkpoint]
    return arguments


def annotations_of(toy_data, number):
    """The annotations of a validation image, read by hand."""
    content = json.loads((toy_data / 'annotations' / 'val.json').read_text())
    return [item for item in content['annotations'] if item['image_id'] == number]


def test_figure_shows_boxes_masks_and_labels(tmp_path):
    images = {
        'image 1': picture(tmp_path / 'a.png', 40, 30),
        'image 2': picture(tmp_path / 'b.png', 30, 60),
    }
    mask = np.zeros((30, 40), bool)
    mask[5:10, 8:20] = True
    best = Instance([8, 5, 20, 10], 'cat', RED, 0.9, mask)
    second = Instance([9, 5, 21, 10], 'dog', BLUE, 0.4)
    truth = Instance([1, 2, 50, 20], 'cat', RED)
    figure = detections_figure(images, {'truth': [[truth], []], 'found': [[second, best], []]})
    assert len(figure.axes) == 4
    left, right, below, _ = figure.axes
    assert (left.get_title(), right.get_title(), below.get_title()) == ('truth', 'found', '')
    assert (left.get_ylabel(), below.get_ylabel(), right.get_ylabel()) == ('image 1', 'image 2', '')
    # A box that reaches over the border does not widen its picture.
    assert left.get_xlim() == (-0.5, 39.5)
    assert [text.get_text() for text in left.texts] == ['cat']
    # The best label has its place first, the other one stands below it.
    labels = {text.get_text(): text.get_position()[1] for text in right.texts}
    assert list(labels) == ['cat 0.90', 'dog 0.40']
    assert labels['dog 0.40'] > labels['cat 0.90']
    box = right.lines[-1]
    assert to_rgb(box.get_color()) == RED
    assert list(zip(*box.get_data())) == [(8, 5), (20, 5), (20, 10), (8, 10), (8, 5)]
    shade = right.images[1].get_array()
    assert np.array_equal(shade[..., 3] > 0, mask)
    assert np.allclose(shade[mask][:, :3], RED)
    assert len(left.images) == 1  # no mask


def test_labels_neither_overlap_nor_leave_the_image(tmp_path):
    image = picture(tmp_path / 'a.png', 300, 300)
    # The same box several times, and one at the right border.
    boxes = [[200, 0, 260, 50]] * 4 + [[290, 100, 299, 120]]
    found = [Instance(box, 'class', RED, 0.9 - n / 10) for n, box in enumerate(boxes)]
    figure = detections_figure({'image': image}, {'found': [found]})
    figure.draw_without_rendering()
    (axes,) = figure.axes
    extents = [text.get_window_extent() for text in axes.texts]
    assert len(extents) == 5
    for number, extent in enumerate(extents):
        assert axes.bbox.x0 <= extent.x0
        assert extent.x1 <= axes.bbox.x1
        assert axes.bbox.y0 <= extent.y0
        assert extent.y1 <= axes.bbox.y1
        assert not any(extent.overlaps(other) for other in extents[:number])


def test_masks_may_be_empty_or_full(tmp_path):
    image = picture(tmp_path / 'a.png', 20, 20)
    found = [
        Instance([0, 0, 19, 19], 'cat', RED, 0.5, np.full((20, 20), full)) for full in (True, False)
    ]
    figure = detections_figure({'image': image}, {'found': [found]})
    figure.savefig(tmp_path / 'out.png')
    assert len(figure.axes[0].images) == 2  # the image and the full mask
    assert picture_colours(tmp_path / 'out.png') > 1


def test_columns_and_images_go_together(tmp_path):
    image = picture(tmp_path / 'a.png', 20, 20)
    with pytest.raises(ValueError, match="'found': 2 entries for 1 images"):
        detections_figure({'image': image}, {'found': [[], []]})
    with pytest.raises(FileNotFoundError, match='There is no image'):
        detections_figure({'image': str(tmp_path / 'b.png')}, {'found': [[]]})


def test_ground_truth_is_the_annotation_files(toy_data, detectors):
    from mmengine.config import Config

    from mmic.analysis.detectors import build_dataset, choose_images, class_looks, ground_truth

    dataset = build_dataset(Config.fromfile(detectors[0]))
    looks = class_looks(dataset)
    assert [name for name, _ in looks] == ['near_red', 'near_green', 'near_blue']
    assert len({colour for _, colour in looks}) == 3
    infos = choose_images(dataset, ['3', 1], 4)
    assert [info['img_id'] for info in infos] == [3, 1]
    assert [info['img_id'] for info in choose_images(dataset, None, 2)] == [1, 2]
    for info in infos:
        items = annotations_of(toy_data, info['img_id'])
        drawn = ground_truth(info, looks)
        assert len(drawn) == len(items) > 0
        for instance, item in zip(drawn, items):
            x, y, width, height = item['bbox']
            assert instance.box == pytest.approx([x, y, x + width, y + height])
            assert (instance.name, instance.colour) == looks[item['category_id'] - 1]
            assert instance.score is None
            # The polygon's area, up to the pixels of its outline.
            assert abs(instance.mask.sum() - item['area']) < 2 * (width + height)
        assert all(one.mask is None for one in ground_truth(info, looks, masks=False))


def test_detections_are_those_of_mmdet(toy_data, detectors):
    from mmdet.apis import inference_detector, init_detector
    from mmengine.config import Config

    from mmic.analysis.detectors import build_dataset, class_looks, detect, load_detector

    config, checkpoint = map(str, detectors[2:])
    image = str(toy_data / 'val' / '000001.png')
    expected = inference_detector(init_detector(config, checkpoint, device='cpu'), image)
    expected = expected.pred_instances
    kept = expected.scores >= 0.2
    cfg = Config.fromfile(config)
    looks = class_looks(build_dataset(cfg, lazy=True))
    (found,) = detect(load_detector(cfg, checkpoint), [image], looks, score=0.2)
    assert len(found) == kept.sum() > 0
    assert [one.box for one in found] == expected.bboxes[kept].tolist()
    assert [one.score for one in found] == expected.scores[kept].tolist()
    assert [one.name for one in found] == [looks[n][0] for n in expected.labels[kept].tolist()]
    assert np.array_equal([one.mask for one in found], expected.masks[kept].numpy())


def test_masks_without_boxes_get_one(toy_data, detectors, monkeypatch):
    """SOLO's boxes are all zeros."""
    import mmdet.apis
    from mmengine.config import Config
    from mmengine.structures import InstanceData

    from mmic.analysis.detectors import detect, load_detector

    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, 5:10, 8:21] = True
    found = InstanceData(
        bboxes=torch.zeros(2, 4),
        labels=torch.tensor([0, 1]),
        scores=torch.tensor([0.9, 0.8]),
        masks=masks,
    )
    result = mmdet.apis.inference.DetDataSample(pred_instances=found)
    monkeypatch.setattr(mmdet.apis, 'inference_detector', lambda model, image: result)
    model = load_detector(Config.fromfile(detectors[0]), str(detectors[1]))
    (drawn,) = detect(model, ['x.png'], [('cat', RED), ('dog', BLUE)])
    assert [one.box for one in drawn] == [[8, 5, 21, 10], [0, 0, 0, 0]]
    with pytest.raises(ValueError, match='finds class 1, its test set has 1 classes'):
        detect(model, ['x.png'], [('cat', RED)])


# tools/compare_detections.py


def test_command_draws_detectors_beside_each_other(detectors, tmp_path):
    out = tmp_path / 'new' / 'found.png'
    options = ('--images', 3, 1, '--score-thr', 0, '--ground-truth', '--out', out)
    done = call_tool('compare_detections.py', *detectors, *options)
    assert done.code == 0, done.text
    assert 'ground truth: ' in done.text
    assert 'plain: 10, 10 objects\nmasks: 10, 10 objects' in done.text
    assert f'Wrote {out}' in done.text
    assert picture_colours(out) > 3
    with Image.open(out) as drawn:
        # Three columns of two square images.
        assert 1.3 < drawn.width / drawn.height < 1.6
    before = out.read_bytes()
    again = call_tool('compare_detections.py', *detectors, *options)
    assert again.code == 1
    assert 'pass --overwrite' in again.text
    assert out.read_bytes() == before


def test_command_draws_any_files(detectors, tmp_path):
    """Images need not be of the data set, nor of one size; the annotations are not read then."""
    images = [picture(tmp_path / 'a b.png', 60, 40), picture(tmp_path / 'c.png', 30, 50)]
    out = tmp_path / 'found.png'
    missing = ('--cfg-options', 'test_dataloader.dataset.ann_file=nowhere.json')
    options = ('--out', out, '--images', *images, *missing)
    # One config with several checkpoints is called by these.
    twice = [*detectors[:2], *detectors[:2]]
    done = call_tool('compare_detections.py', *twice, '--names', 'a', 'b', *options)
    assert done.code == 0, done.text
    assert picture_colours(out) > 1


@pytest.mark.parametrize(
    ('change', 'code', 'told'),
    [
        (lambda d: (d[:1], ()), 2, 'has no checkpoint behind it'),
        (lambda d: ([d[1], d[0]], ()), 2, 'each config (.py) stands before its checkpoint'),
        (lambda d: ([*d[:2], *d[:2]], ()), 2, '--names takes 2 different names'),
        (lambda d: (d, ('--names', 'one')), 2, '--names takes 2 different names'),
        (lambda d: (d, ('--num', 0)), 2, '--num is at least 1'),
        (lambda d: (d, ('--num', 1, '--images', 1)), 2, '--images names them'),
        (lambda d: (d, ('--score-thr', 2)), 2, '--score-thr is from 0 to 1'),
        (lambda d: (d, ('--images', 1, 1)), 1, 'one stands twice'),
        (lambda d: (d, ('--images', 7)), 1, "has the id '7'; its 3 images have ids 1, 2, 3"),
        (lambda d: (d, ('--images', d[0], '--ground-truth')), 1, 'by their ids'),
        (lambda d: (d, ('--images', d[0])), 1, 'cannot identify image file'),
        (lambda d: ([d[0], d[3]], ()), 1, 'Is it of this config?'),
        (lambda d: (['nowhere.py', d[1]], ()), 1, 'no config file nowhere.py'),
        (lambda d: ([d[0], d[1].with_suffix('.no')], ()), 1, 'plain.no'),
    ],
)
def test_command_refuses(detectors, tmp_path, change, code, told):
    out = tmp_path / 'found.png'
    files, options = change(detectors)
    done = call_tool('compare_detections.py', *files, '--out', out, *options)
    assert done.code == code
    assert told in done.text
    assert 'Traceback' not in done.text
    assert not out.exists()
