"""CrowdHuman's recall: against a matching by loops, on generated annotations and detections."""

import json
import random

import pytest
import torch
from mmengine.registry import METRICS, init_default_scope

pytest.importorskip('mmdet')

SIDE = 200


def make_box(rng):
    """A box (x, y, w, h); full bodies reach beyond the image."""
    return [rng.randint(-20, 160), rng.randint(-20, 140), rng.randint(20, 70), rng.randint(30, 90)]


def make_data(folder, images=6, seed=0):
    """Write annotations; return them and detections (x, y, w, h, score) by image.

    Half of the persons are found, some twice, and every fourth object is to be ignored, by its
    tag or its attribute.
    """
    rng = random.Random(seed)
    records, detections = [], {}
    for number in range(images):
        objects, found = [], []
        for index in range(rng.randint(3, 9)):
            box = make_box(rng)
            item = dict(tag='person', fbox=box, hbox=box, vbox=box)
            if index % 4 == 3:
                item.update(dict(tag='mask') if rng.random() < 0.5 else dict(extra=dict(ignore=1)))
            objects.append(item)
            for _ in range(rng.choice([0, 1, 1, 2])):
                x, y, w, h = (value + rng.randint(-4, 4) for value in box)
                found.append([x, y, w, h, rng.random()])
        found += [[*make_box(rng), rng.random()] for _ in range(4)]
        records.append(dict(ID=f'{number},abc', gtboxes=objects))
        detections[f'{number},abc'] = found
    path = folder / 'annotation_val.odgt'
    path.write_text('\n'.join(json.dumps(record) for record in records) + '\n')
    return path, records, detections


def evaluate(path, detections, name='mmic.CrowdHumanRecallMetric', metric=('AP', 'MR')):
    init_default_scope('mmdet')
    evaluator = METRICS.build(dict(type=name, ann_file=str(path), metric=list(metric)))
    for image, rows in detections.items():
        boxes = torch.tensor(rows, dtype=torch.float64).reshape(-1, 5)
        boxes[:, 2:4] += boxes[:, :2]
        found = dict(bboxes=boxes[:, :4], scores=boxes[:, 4])
        evaluator.process({}, [dict(img_id=image, ori_shape=(SIDE, SIDE), pred_instances=found)])
    return evaluator.evaluate(len(detections))


def corners(box):
    """(x1, y1, x2, y2) inside the image, as CrowdHuman's protocol cuts boxes off."""
    x, y, w, h = box[:4]
    clipped = (min(max(x, 0), SIDE - 1), min(max(y, 0), SIDE - 1))
    return (*clipped, max(min(x + w, SIDE), 0), max(min(y + h, SIDE), 0))


def overlap(first, second):
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    both = max(width, 0) * max(height, 0)
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (first, second)]
    return both / (sum(areas) - both)


def naive_recall(records, detections):
    """Detections by falling score take the free person they overlap most, above 0.5."""
    matched = persons = 0
    for record in records:
        free = [
            corners(item['fbox'])
            for item in record['gtboxes']
            if item['tag'] == 'person' and not item.get('extra', {}).get('ignore')
        ]
        persons += len(free)
        for row in sorted(detections[record['ID']], key=lambda row: -row[4]):
            overlaps = [overlap(corners(row), person) for person in free]
            if overlaps and max(overlaps) > 0.5:
                free.pop(overlaps.index(max(overlaps)))
                matched += 1
    return matched / persons


@pytest.mark.parametrize('seed', range(5))
def test_recall_is_that_of_a_matching_by_loops(tmp_path, seed):
    path, records, detections = make_data(tmp_path, seed=seed)
    expected = naive_recall(records, detections)
    assert 0.2 < expected < 0.95
    found = evaluate(path, detections)
    assert found['crowd_human/Recall'] == pytest.approx(expected, abs=5e-5)


def test_other_metrics_are_mmdets(tmp_path):
    path, _, detections = make_data(tmp_path)
    ours = evaluate(path, detections)
    assert ours.pop('crowd_human/Recall') > 0
    assert ours == evaluate(path, detections, 'mmdet.CrowdHumanMetric')
    assert evaluate(path, detections, metric=['MR']).keys() == {'crowd_human/mMR'}


def test_all_persons_and_none_found(tmp_path):
    path, records, detections = make_data(tmp_path)
    everything = {
        record['ID']: [[*item['fbox'], 0.9] for item in record['gtboxes']] for record in records
    }
    assert evaluate(path, everything, metric=['AP'])['crowd_human/Recall'] == 1
    nothing = {image: [] for image in detections}
    assert evaluate(path, nothing, metric=['AP'])['crowd_human/Recall'] == 0


def test_file_without_persons_is_refused(tmp_path):
    path, records, detections = make_data(tmp_path)
    for record in records:
        for item in record['gtboxes']:
            item['tag'] = 'mask'
    path.write_text('\n'.join(json.dumps(record) for record in records))
    with pytest.raises(ValueError, match=r'annotation_val\.odgt has no person to find'):
        evaluate(path, detections, metric=['AP'])
