"""Splits in COCO's format: partitions, reproducible, and the images that the papers name."""

import json
import random
import re
import tempfile
from pathlib import Path

import pytest
from helpers import call_tool
from hypothesis import given, settings
from hypothesis import strategies as st

from mmic.datasets import check_disjoint, split_holdout, split_nats


def make_content(names, seed=0):
    """A file with 0 to 3 annotations an image, in no order; names is file_name by id."""
    rng = random.Random(seed)
    images = [dict(id=i, file_name=name, width=64, height=48) for i, name in names.items()]
    owners = [image for image in names for _ in range(rng.randrange(4))]
    rng.shuffle(owners)
    annotations = [
        dict(id=index, image_id=image, category_id=7, bbox=[1.5, 2, 3, 4.25], area=12.75, iscrowd=0)
        for index, image in enumerate(owners, 1)
    ]
    return dict(
        info=dict(description='made by a test', year=2017),
        licenses=[dict(id=1, name='none')],
        images=images,
        annotations=annotations,
        categories=[dict(id=7, name='seven'), dict(id=9, name='of no annotation')],
        videos=[],
    )


def save(path, content):
    path.write_text(json.dumps(content))
    return path


def load(path):
    return json.loads(Path(path).read_text())


def ids(content):
    return [image['id'] for image in content['images']]


def numbered(count):
    return {index: f'{index:03d}.jpg' for index in range(1, count + 1)}


@pytest.fixture
def source(tmp_path):
    return save(tmp_path / 'source.json', make_content(numbered(20)))


@pytest.fixture
def coco(tmp_path):
    """COCO in small, under its own file names: 30 images, 10 in val2014, 4 of them minival."""
    rng = random.Random(3)
    everything = rng.sample(range(1, 600000), 30)
    val = everything[:10]
    minival = val[2:6]
    members = dict(
        train2014=everything[10:],
        val2014=val,
        train2017=[image for image in everything if image not in minival],
        val2017=minival,
    )
    for year, members_of_it in members.items():
        rng.shuffle(members_of_it)
        prefix = f'COCO_{year}_' if year.endswith('2014') else ''
        names = {image: f'{prefix}{image:012d}.jpg' for image in members_of_it}
        save(tmp_path / f'instances_{year}.json', make_content(names))
    return tmp_path


def nats(coco, train='train2014', val='val2014', minival='val2017', **options):
    files = [coco / f'instances_{year}.json' for year in (train, val, minival)]
    return split_nats(*files, coco / 'out', **options)


def refuse(error, message, call, *arguments, out, **options):
    """The call must fail with the message and leave no file in its folder."""
    with pytest.raises(error, match=message):
        call(*arguments, out, **options)
    assert not out.exists()


# Held-out images

contents = st.builds(
    lambda numbers, seed: make_content({i: f'folder/{i}.png' for i in numbers}, seed),
    st.lists(st.integers(-5, 10**9), min_size=2, max_size=40, unique=True),
    st.integers(0, 2**16),
)


@settings(max_examples=40, deadline=None)
@given(contents, st.integers(0, 2**32), st.data())
def test_holdout_is_a_partition_that_keeps_everything(content, seed, data):
    count = len(content['images'])
    num = data.draw(st.integers(1, count - 1))
    with tempfile.TemporaryDirectory() as folder:
        source = save(Path(folder, 'source.json'), content)
        kept, held_out = map(load, split_holdout(source, folder, num, seed=seed))
    assert len(held_out['images']) == num
    assert sorted(ids(kept) + ids(held_out)) == sorted(ids(content))
    for part in (kept, held_out):
        members = ids(part)
        # Order and content of what is kept are the source's.
        for key, owner in (('images', 'id'), ('annotations', 'image_id')):
            expected = []
            for item in content[key]:
                if item[owner] in members:
                    expected.append(item)
            assert part[key] == expected
        for key in ('licenses', 'categories', 'videos'):
            assert part[key] == content[key]
        assert part.keys() == content.keys()
    assert len(kept['annotations'] + held_out['annotations']) == len(content['annotations'])


@settings(max_examples=40, deadline=None)
@given(contents, st.integers(0, 2**32), st.randoms(use_true_random=False))
def test_the_order_in_the_file_does_not_matter(content, seed, rng):
    shuffled = dict(content, images=rng.sample(content['images'], len(content['images'])))
    drawn = []
    with tempfile.TemporaryDirectory() as folder:
        for index, variant in enumerate((content, shuffled)):
            source = save(Path(folder, f'{index}.json'), variant)
            _, held_out = split_holdout(source, folder, fraction=0.5, seed=seed)
            drawn.append(set(ids(load(held_out))))
    assert drawn[0] == drawn[1]


def test_the_draw_is_the_same_on_every_machine(tmp_path):
    # Python documents that Random(0).random() begins with these numbers in every version.
    numbers = [0.8444218515250481, 0.7579544029403025, 0.420571580830845, 0.25891675029296335]
    source = save(tmp_path / 'a.json', make_content({40: 'd', 30: 'c', 10: 'a', 20: 'b'}))
    for num in (1, 2, 3):
        _, held_out = split_holdout(source, tmp_path, num, seed=0, overwrite=True)
        smallest = sorted(zip(numbers, (10, 20, 30, 40)))[:num]
        assert set(ids(load(held_out))) == {image for _, image in smallest}


def test_seeds_draw_differently_and_evenly(source, tmp_path):
    counts = dict.fromkeys(range(1, 21), 0)
    for seed in range(200):
        _, held_out = split_holdout(source, tmp_path, num=5, seed=seed, overwrite=True)
        for image in ids(load(held_out)):
            counts[image] += 1
    # 200 draws of 5 in 20 take an image 50 times, with a standard deviation of 6.1.
    assert sum(counts.values()) == 1000
    assert all(25 < count < 75 for count in counts.values())


def test_a_larger_holdout_of_one_seed_contains_the_smaller(source, tmp_path):
    drawn = []
    for num in (3, 8, 19):
        _, held_out = split_holdout(source, tmp_path, num, seed=4, overwrite=True)
        drawn.append(set(ids(load(held_out))))
    assert drawn[0] < drawn[1] < drawn[2]


def test_the_split_is_recorded_beside_the_info(source, tmp_path):
    names = ('archtrain', 'archval')
    paths = split_holdout(source, tmp_path / 'new', fraction=0.25, seed=11, names=names)
    assert [path.name for path in paths] == ['archtrain.json', 'archval.json']
    for path, name, count in zip(paths, names, (15, 5)):
        info = load(path)['info']
        assert info['description'] == 'made by a test'
        assert info['split'] == dict(
            method='holdout',
            seed=11,
            fraction=0.25,
            name=name,
            source='source.json',
            num_images=count,
        )
    again, _ = split_holdout(paths[0], tmp_path / 'again', num=5)
    assert load(again)['info']['split']['source_split']['name'] == 'archtrain'
    assert again.name == 'archtrain_train.json'


@pytest.mark.parametrize('info', [None, {}, ''])
def test_a_file_without_info_gets_one(tmp_path, info):
    content = make_content(numbered(4))
    del content['info']
    if info is not None:
        content['info'] = info
    _, held_out = split_holdout(save(tmp_path / 'a.json', content), tmp_path, num=1)
    assert load(held_out)['info'].keys() == {'split'}


@pytest.mark.parametrize('num', [-1, 0, 20, 21, True, 2.0])
def test_a_number_that_leaves_a_part_empty_is_refused(source, tmp_path, num):
    refuse(ValueError, repr(num), split_holdout, source, num=num, out=tmp_path / 'out')


@pytest.mark.parametrize('fraction', [-0.1, 0, 1, 1.5, float('nan'), 0.01, 0.99])
def test_a_fraction_that_leaves_a_part_empty_is_refused(source, tmp_path, fraction):
    # 0.01 and 0.99 of 20 images round to none and all.
    message = 'fraction must be above 0 and below 1|cannot be held out'
    refuse(ValueError, message, split_holdout, source, fraction=fraction, out=tmp_path / 'out')


def test_other_arguments_are_checked(source, tmp_path):
    out = tmp_path / 'out'
    for options in (dict(), dict(num=3, fraction=0.5)):
        refuse(ValueError, 'either num or fraction', split_holdout, source, out=out, **options)
    for seed in (-1, 0.5, None, True):
        refuse(ValueError, 'seed must', split_holdout, source, num=3, seed=seed, out=out)
    for names in (('a', 'a'), ('a', 'a.json'), ('a',), ('../a', 'b'), ('', 'b'), ('a', 'b/')):
        with pytest.raises(ValueError, match='name'):
            split_holdout(source, out, num=3, names=names)
    with pytest.raises(ValueError, match='is read, so it cannot be written'):
        split_holdout(source, tmp_path, num=3, names=('source', 'b'), overwrite=True)
    with pytest.raises(NotADirectoryError, match='source.json is a file'):
        split_holdout(source, source, num=3)
    with pytest.raises(FileNotFoundError, match='There is no file .*absent.json'):
        split_holdout(tmp_path / 'absent.json', out, num=3)


def test_existing_files_are_kept(source, tmp_path):
    # The second file alone is in the way: the first must not be written either.
    (tmp_path / 'b.json').write_text('mine')
    with pytest.raises(FileExistsError, match=r'b\.json exists and is kept'):
        split_holdout(source, tmp_path, num=3, names=('a', 'b'))
    assert (tmp_path / 'b.json').read_text() == 'mine'
    assert not (tmp_path / 'a.json').exists()
    split_holdout(source, tmp_path, num=3, names=('a', 'b'), overwrite=True)
    assert len(ids(load(tmp_path / 'b.json'))) == 3


@pytest.mark.parametrize('names', [{5: 'other.jpg'}, {100: '007.jpg'}], ids=['id', 'file_name'])
def test_holdout_with_images_of_minival_is_refused(source, tmp_path, names):
    minival = save(tmp_path / 'minival.json', make_content(names))
    message = 'source.json and .*minival.json share 1 image.*: (5|007.jpg)'
    options = dict(num=3, minival=minival, out=tmp_path / 'out')
    refuse(ValueError, message, split_holdout, source, **options)
    # Only the images of the file count, not its annotations.
    save(minival, dict(images=[dict(id=100, file_name='100.jpg')]))
    assert len(split_holdout(source, tmp_path / 'out', num=3, minival=minival)) == 2


# Files that are not in COCO's format


def without(key):
    return lambda content: content.pop(key)


def first_image(**change):
    return lambda content: content['images'][0].update(change)


def first_annotation(**change):
    return lambda content: content['annotations'][0].update(change)


@pytest.mark.parametrize(
    ('change', 'message'),
    [
        (without('images'), 'missing: images'),
        (without('annotations'), 'missing: annotations'),
        (without('categories'), 'missing: categories'),
        (lambda content: content.update(images={}), 'missing: images'),
        (lambda content: content.update(info='text'), '"info" must be an object'),
        (lambda content: content['images'].insert(0, 3), r'images\[0\] needs "id"'),
        (lambda content: content['images'][0].pop('id'), r'images\[0\] needs "id".*None'),
        (first_image(id='1'), r'images\[0\] needs "id" of type int, got .1.'),
        (first_image(id=True), r'images\[0\] needs "id" of type int, got True'),
        (first_image(file_name=None), r'images\[0\] needs "file_name" of type str'),
        (first_image(id=2), 'several images have the same id: 2'),
        (first_image(file_name='002.jpg'), 'several images have the same file_name: 002.jpg'),
        (first_annotation(image_id=99), r'annotations\[0\] has the image_id 99'),
        (first_annotation(image_id=[1]), r'annotations\[0\] has the image_id \[1\]'),
        (lambda content: content['annotations'].append(None), r'annotations\[\d+\] has the'),
    ],
)
def test_what_is_not_coco_format_is_refused_by_name(tmp_path, change, message):
    content = make_content(numbered(6))
    change(content)
    source = save(tmp_path / 'mine.json', content)
    message = f'mine.json: .*{message}'
    refuse(ValueError, message, split_holdout, source, num=2, out=tmp_path / 'out')


@pytest.mark.parametrize('text', ['', '{"images": [', '[' * 100000, '\xff'])
def test_what_is_not_json_is_refused_by_name(tmp_path, text):
    source = tmp_path / 'mine.json'
    source.write_bytes(text.encode('latin-1'))
    message = 'mine.json: not a whole JSON file'
    refuse(ValueError, message, split_holdout, source, num=2, out=tmp_path / 'out')


def test_a_list_of_detections_is_refused(tmp_path):
    source = save(tmp_path / 'mine.json', [dict(image_id=1, score=0.5)])
    message = 'mine.json: not in COCO format.*missing: images, annotations, categories'
    refuse(ValueError, message, split_holdout, source, num=2, out=tmp_path / 'out')


# NATS


@pytest.mark.parametrize('train', ['train2014', 'train2017'])
def test_nats_splits_are_those_of_the_paper(coco, train):
    """Weights on train2014, alphas on val2014 without minival (NATS, section 4.1)."""
    files = {path.stem[len('instances_') :]: load(path) for path in coco.glob('*.json')}
    weights, alpha = map(load, nats(coco, train))
    assert sorted(ids(weights)) == sorted(ids(files['train2014']))
    expected = [image for image in ids(files['val2014']) if image not in ids(files['val2017'])]
    assert sorted(ids(alpha)) == sorted(expected)
    # Each part's file names are those of the folder of images that belongs to its source.
    sources = [train, train if train == 'train2017' else 'val2014']
    for part, name, year in zip((weights, alpha), ('nats_weights', 'nats_alpha'), sources):
        assert all(image in files[year]['images'] for image in part['images'])
        assert part['annotations'] == [
            item for item in files[year]['annotations'] if item['image_id'] in ids(part)
        ]
        assert part['info']['split'] == dict(
            method='nats',
            train=f'instances_{train}.json',
            val='instances_val2014.json',
            minival='instances_val2017.json',
            name=name,
            source=f'instances_{year}.json',
            num_images=len(part['images']),
        )


def test_with_2017_annotations_any_list_of_val2014_serves(coco):
    path = coco / 'instances_val2014.json'
    listed = {'images': load(path)['images']}
    expected = [path.read_bytes() for path in nats(coco, 'train2017')]
    save(path, listed)
    again = nats(coco, 'train2017', overwrite=True)
    assert [path.read_bytes() for path in again] == expected
    with pytest.raises(ValueError, match=r'val2014.json: .*missing: annotations, categories'):
        nats(coco, 'train2014', overwrite=True)
    assert [path.read_bytes() for path in again] == expected


@pytest.mark.parametrize(
    ('files', 'message'),
    [
        # The 2014 and 2017 files at each other's place.
        (dict(train='val2014'), 'val2014.json and .*val2017.json share 4 image'),
        (dict(val='train2014'), '4 image.* of .*val2017.json are not in .*train2014.json'),
        (dict(minival='val2014'), 'nats_alpha would be empty'),
        (dict(minival='train2014'), 'train2014.json and .*train2014.json share 20 image'),
        (dict(train='val2017'), 'val2017.json and .*val2017.json share 4 image'),
    ],
)
def test_nats_refuses_files_at_the_wrong_place(coco, files, message):
    with pytest.raises(ValueError, match=message):
        nats(coco, **files)
    assert not (coco / 'out').exists()


def test_nats_refuses_part_of_train2017(coco):
    path = coco / 'instances_train2017.json'
    content = load(path)
    val = ids(load(coco / 'instances_val2014.json'))
    removed = next(image for image in content['images'] if image['id'] in val)
    content['images'].remove(removed)
    content['annotations'] = []
    save(path, content)
    with pytest.raises(ValueError, match=r'train2017.json holds 5 of the 6 images of .*val2014'):
        nats(coco, 'train2017')


def test_nats_refuses_an_empty_weights_split(coco):
    path = coco / 'instances_train2017.json'
    alpha = load(nats(coco, 'train2017')[1])
    save(path, alpha)
    with pytest.raises(ValueError, match='nats_weights would be empty'):
        nats(coco, 'train2017', overwrite=True)


@pytest.mark.parametrize('year', ['train2017', 'val2017'])
def test_nats_refuses_files_numbered_otherwise(coco, year):
    # As converters do that number the images anew.
    path = coco / f'instances_{year}.json'
    content = load(path)
    numbers = ids(content)
    for image, number in zip(content['images'], numbers[1:] + numbers[:1]):
        image['id'] = number
    save(path, content)
    with pytest.raises(ValueError, match=rf'Image id \d+ is .*{year}.json .*number images alike'):
        nats(coco, 'train2017')


# Both


def test_check_disjoint_names_the_first_images_and_both_sides():
    check_disjoint(iter([1, 2]), iter([3]), 'weights', 'alpha')
    check_disjoint([], [], 'weights', 'alpha')
    with pytest.raises(ValueError, match=r'^weights and alpha share 2 image\(s\): 9, 4\.'):
        check_disjoint(iter([9, 1, 4, 9]), iter([4, 5, 9]), 'weights', 'alpha')
    with pytest.raises(ValueError, match=r'share 8 image\(s\): 0, 1, 2, 3, 4, \.\.\.\.'):
        check_disjoint(range(10), range(8), 'weights', 'alpha')


@given(st.lists(st.text(max_size=2)), st.lists(st.text(max_size=2)))
def test_check_disjoint_finds_what_comparing_all_pairs_finds(first, second):
    shared = [a for a in first for b in second if a == b]
    if shared:
        with pytest.raises(ValueError, match=re.escape(f'share {len(set(shared))} image')):
            check_disjoint(first, second, 'a', 'b')
    else:
        check_disjoint(first, second, 'a', 'b')


def test_mmdet_loads_the_toy_task_in_two_parts(toy_data, tmp_path):
    datasets = pytest.importorskip('mmdet.datasets')
    paths = split_holdout(toy_data / 'annotations' / 'train.json', tmp_path, num=3, seed=1)

    def images_of(ann_file):
        """Path of each image to its boxes, as mmdet reads them."""
        dataset = datasets.CocoDataset(
            ann_file=str(ann_file),
            data_prefix=dict(img=f'{toy_data}/train/'),
            metainfo=dict(classes=('near_red', 'near_green', 'near_blue')),
            pipeline=[],
        )
        infos = [dataset.get_data_info(index) for index in range(len(dataset))]
        return {
            info['img_path']: [(item['bbox_label'], item['bbox']) for item in info['instances']]
            for info in infos
        }

    kept, held_out = map(images_of, paths)
    check_disjoint(kept, held_out, 'kept', 'held out')
    assert (len(kept), len(held_out)) == (5, 3)
    assert all(Path(path).is_file() for path in {**kept, **held_out})
    assert {**kept, **held_out} == images_of(toy_data / 'annotations' / 'train.json')


# The command


@pytest.mark.parametrize('command', ['nats', 'holdout'])
def test_help_of_each_command_explains_every_argument(command):
    done = call_tool('coco_split.py', command, '--help')
    assert done.code == 0
    usage, _, rest = done.text.partition('\n\n')
    assert '--out-dir DIR' in usage
    assert rest.startswith('Write')
    arguments = re.findall(r'^  (\S.*(?:\n {10,}.*)?)', rest, re.M)
    assert len(arguments) >= 7
    assert all(re.search(r'\S(?: {2,}|\n {10,})\S', argument) for argument in arguments)


def test_command_writes_what_the_functions_write(coco, source):
    files = {year: coco / f'instances_{year}.json' for year in ('train2017', 'val2014', 'val2017')}
    expected = [path.read_bytes() for path in nats(coco, 'train2017')]
    done = call_tool(
        'coco_split.py',
        *('nats', '--train', files['train2017'], '--val', files['val2014']),
        *('--minival', files['val2017'], '--out-dir', coco / 'cli'),
    )
    assert done.code == 0, done.text
    written = [coco / 'cli' / 'nats_weights.json', coco / 'cli' / 'nats_alpha.json']
    assert [path.read_bytes() for path in written] == expected
    for path, count in zip(written, (20, 6)):
        assert f'Wrote {path}: {count} images' in done.text
    for path in files.values():
        assert f'Reading {path}' in done.text

    names = ('archtrain', 'archval')
    expected = [
        path.read_bytes() for path in split_holdout(source, coco / 'b', 4, seed=5, names=names)
    ]
    holdout = ['holdout', source, '--num', 4, '--seed', 5, '--names', *names]
    done = call_tool('coco_split.py', *holdout, '--out-dir', coco / 'cli')
    assert done.code == 0, done.text
    assert [(coco / 'cli' / f'{name}.json').read_bytes() for name in names] == expected

    done = call_tool('coco_split.py', *holdout, '--out-dir', coco / 'cli')
    assert done.code == 1
    assert done.text.startswith('coco_split: ')
    assert 'archtrain.json exists and is kept; pass --overwrite' in done.text
    done = call_tool('coco_split.py', *holdout, '--overwrite', '--out-dir', coco / 'cli')
    assert done.code == 0, done.text
