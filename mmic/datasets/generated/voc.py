"""PASCAL VOC 2007 and 2012: boxes, and for 2012 segmentation with the augmented training set."""

from mmic.datasets.generated.scenes import (
    CLASSES,
    SIZE,
    TRAIN,
    VAL,
    draw_images,
    label_map,
    persons,
    save_image,
)

# Of CLASSES among VOC's 20, counted from 1 since 0 is the background.
CLASS_IDS = (15, 7, 2)
# Further splits: 2012 has other images than 2007.
TRAIN_2012, VAL_2012, AUG_2012 = 2, 3, 4
ANNOTATION = """<annotation>
  <folder>{year}</folder>
  <filename>{name}.jpg</filename>
  <size><width>{size}</width><height>{size}</height><depth>3</depth></size>
  <segmented>{segmented}</segmented>
{objects}
</annotation>
"""
OBJECT = """  <object>
    <name>{name}</name>
    <pose>Unspecified</pose><truncated>0</truncated><difficult>0</difficult>
    <bndbox><xmin>{}</xmin><ymin>{}</ymin><xmax>{}</xmax><ymax>{}</ymax></bndbox>
  </object>"""


def write_voc(folder, num_train, num_val, seed, on_image):
    """Write ``VOC2007`` and ``VOC2012``.

    Each of trainval 2007, and train and aug 2012, has ``num_train`` images; each of test 2007 and
    val 2012 has ``num_val``. Detection's trainval 2012 is segmentation's train and val.
    """

    def write(year, split, prefix, count, *mask_folders):
        images = draw_images((seed, split), persons(count), on_image)
        return write_images(folder / year, prefix, images, mask_folders)

    main = folder / 'VOC2007' / 'ImageSets' / 'Main'
    write_list(main / 'trainval.txt', write('VOC2007', TRAIN, '0', num_train))
    write_list(main / 'test.txt', write('VOC2007', VAL, '1', num_val))
    own, augmented = 'SegmentationClass', 'SegmentationClassAug'
    train = write('VOC2012', TRAIN_2012, '2007_', num_train, own, augmented)
    val = write('VOC2012', VAL_2012, '2008_', num_val, own, augmented)
    aug = write('VOC2012', AUG_2012, '2009_', num_train, augmented)
    sets = folder / 'VOC2012' / 'ImageSets'
    lists = dict(train=train, val=val, trainval=train + val)
    for name, names in lists.items():
        write_list(sets / 'Main' / f'{name}.txt', names)
    for name, names in dict(lists, aug=aug, trainaug=train + aug).items():
        write_list(sets / 'Segmentation' / f'{name}.txt', names)


def write_list(path, names):
    """Write a list of images."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('\n'.join(names) + '\n')


def write_images(folder, prefix, images, mask_folders):
    """Write images, their boxes and, in each of ``mask_folders``, their masks; return the names."""
    names = []
    for index, (scene, image) in enumerate(images):
        name = f'{prefix}{index:05d}'
        names.append(name)
        save_image(image, folder / 'JPEGImages' / f'{name}.jpg')
        write_boxes(folder, name, scene, segmented=bool(mask_folders))
        mask = label_map(scene, CLASS_IDS, background=0)
        mask.putpalette(colour_map())
        for mask_folder in mask_folders:
            save_image(mask, folder / mask_folder / f'{name}.png')
    return names


def write_boxes(folder, name, scene, segmented):
    """Write the annotation file of an image; VOC counts pixels from 1, the last one included."""
    objects = []
    for item in scene.objects:
        x, y, width, height = item.box
        box = (x + 1, y + 1, x + width, y + height)
        objects.append(OBJECT.format(*box, name=CLASSES[item.label]))
    path = folder / 'Annotations' / f'{name}.xml'
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        ANNOTATION.format(
            year=folder.name,
            name=name,
            size=SIZE,
            segmented=int(segmented),
            objects='\n'.join(objects),
        )
    )


def colour_map():
    """VOC's palette, 256 colours one after the other: a class's bits, dealt to red, green, blue."""
    palette = []
    for index in range(256):
        for channel in range(3):
            bits = [(index >> (3 * place + channel)) & 1 for place in range(3)]
            palette.append(sum(bit << (7 - place) for place, bit in enumerate(bits)))
    return palette
