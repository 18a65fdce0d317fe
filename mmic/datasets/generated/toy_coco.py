"""The toy task itself, with the splits of the searches."""

from mmic.datasets.coco_split import split_holdout
from mmic.datasets.generated.scenes import SIZE
from mmic.datasets.toy import make_toy_coco


def write_toy_coco(folder, num_train, num_val, seed, on_image):
    """Write the toy task, and the splits that its configs of NATS and CR-NAS read."""
    make_toy_coco(folder, num_train, num_val, SIZE, seed, on_image=on_image)
    annotations = folder / 'annotations'
    for names in (('nats_weights', 'nats_alpha'), ('archtrain', 'archval')):
        split_holdout(annotations / 'train.json', annotations, fraction=0.5, names=names)
