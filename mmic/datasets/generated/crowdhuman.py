"""CrowdHuman: persons with full, visible and head boxes, and regions to ignore."""

import json

from mmic.datasets.generated.scenes import (
    PERSON,
    SIZE,
    TRAIN,
    VAL,
    draw_images,
    persons,
    save_image,
)


def write_crowdhuman(folder, num_train, num_val, seed, on_image):
    """Write images, annotations, and the files of image sizes that MMDetection keeps beside."""
    for name, count, split in (('train', num_train, TRAIN), ('val', num_val, VAL)):
        records = []
        for index, (scene, image) in enumerate(
            draw_images((seed, split), persons(count), on_image)
        ):
            number = f'{name},{index:06d}'
            save_image(image, folder / 'Images' / f'{number}.jpg')
            boxes = [describe(item, index) for index, item in enumerate(scene.objects)]
            records.append(dict(ID=number, gtboxes=boxes))
        lines = ''.join(json.dumps(record) + '\n' for record in records)
        (folder / f'annotation_{name}.odgt').write_text(lines)
        sizes = {record['ID']: (SIZE, SIZE) for record in records}
        (folder / f'id_hw_{name}.json').write_text(json.dumps(sizes) + '\n')


def describe(item, index):
    """Return the annotation of a ToyObject; those that are no person are to be ignored."""
    x, y, width, height = item.box
    boxes = dict(fbox=item.box, vbox=item.box)
    if item.label != PERSON:
        return dict(boxes, tag='mask', hbox=item.box, head_attr={}, extra=dict(ignore=1))
    head = (x + width // 4, y, width // 2, height // 4)
    attributes = dict(ignore=0, occ=0, unsure=0)
    extra = dict(box_id=index, occ=0)
    return dict(boxes, tag='person', hbox=head, head_attr=attributes, extra=extra)
