"""The published CR-NAS architectures, and what is refused as a code."""

import pytest

from mmic.search.cr_archs import (
    PUBLISHED,
    check_codes,
    check_stage_blocks,
    free_units,
    published,
    split_codes,
)

MOBILENETV2 = [1, 1, 2, 2, 3, 4, 4, 1, 1, 1]


@pytest.mark.parametrize(
    ('name', 'family', 'depth', 'blocks'),
    [
        ('MobileNetV2', 'mobilenetv2', None, (1, 1, 2, 3, 4, 3, 3, 1, 1, 1)),
        ('ResNet18', 'resnet', 18, (2, 2, 2, 2)),
        ('ResNet50', 'resnet', 50, (3, 4, 6, 3)),
        ('ResNet101', 'resnet', 101, (3, 4, 23, 3)),
        ('ResNeXt50-32x4d', 'resnext', 50, (3, 4, 6, 3)),
        ('ResNeXt101-32x4d', 'resnext', 101, (3, 4, 23, 3)),
        ('SCR-MobileNetV2', 'mobilenetv2', None, (1, 1, 2, 2, 3, 4, 4, 1, 1, 1)),
        ('SCR-ResNet18', 'resnet', 18, (1, 1, 2, 4)),
        ('SCR-ResNet50', 'resnet', 50, (1, 3, 5, 7)),
        ('SCR-ResNet101', 'resnet', 101, (2, 3, 17, 11)),
        ('SCR-ResNeXt50-32x4d', 'resnext', 50, (2, 2, 6, 6)),
        ('SCR-ResNeXt101-32x4d', 'resnext', 101, (3, 4, 15, 11)),
    ],
)
def test_stage_codes_are_those_of_table_5(name, family, depth, blocks):
    architecture = published(name)
    assert architecture.name == name
    assert (architecture.family, architecture.depth) == (family, depth)
    assert architecture.stage_blocks == blocks
    assert architecture.dilations == (1,) * sum(blocks)


@pytest.mark.parametrize(
    ('name', 'codes'),
    [
        ('CR-MobileNetV2', [0, 1, 0, 1, 0, 2, 0, 1, 1, 0, 0, 1, 1, 0, 1, 1, 0, 2, 0, 0]),
        ('CR-ResNet18', [0, 0, 1, 0, 1, 0, 2, 1]),
        ('CR-ResNet50', [0, 0, 1, 0, 0, 0, 1, 2, 0, 0, 1, 0, 2, 1, 1, 2]),
        (
            'CR-ResNet101',
            [0, 0, 0, 0, 0, 0, 1, 0, 1, 0, 0, 0, 2, 0, 0, 0, 1]
            + [0, 1, 0, 1, 0, 1, 1, 0, 0, 1, 0, 1, 2, 0, 1, 1],
        ),
    ],
)
def test_operation_codes_are_those_of_table_6(name, codes):
    architecture = published(name)
    assert list(architecture.codes) == codes
    assert architecture.dilations == tuple({0: 1, 1: 2, 2: 3}[code] for code in codes)
    assert architecture.stage_blocks == published('S' + name).stage_blocks


@pytest.mark.parametrize('name', PUBLISHED)
def test_published_architectures_are_valid(name):
    architecture = published(name)
    num_blocks = {18: 8, 50: 16, 101: 33, None: 20}[architecture.depth]
    check_stage_blocks(architecture.family, architecture.stage_blocks, num_blocks)
    check_codes(architecture.family, architecture.stage_blocks, architecture.codes)


def test_codes_are_split_into_stages():
    def split(name):
        architecture = published(name)
        return split_codes(architecture.stage_blocks, architecture.codes)

    assert split('CR-ResNet50') == [(0,), (0, 1, 0), (0, 0, 1, 2, 0), (0, 1, 0, 2, 1, 1, 2)]
    assert split('CR-ResNet18') == [(0,), (0,), (1, 0), (1, 0, 2, 1)]
    assert split('CR-ResNet101')[3] == (1, 1, 0, 0, 1, 0, 1, 2, 0, 1, 1)
    mobile = split('CR-MobileNetV2')
    # Every group but the first starts with its stride, or its change of width, undilated.
    assert [group[0] for group in mobile[2:7]] == [0, 0, 0, 0, 0]
    assert (mobile[0], mobile[8], mobile[9]) == ((0,), (0,), (0,))


def test_mobilenetv2_has_17_bottlenecks_to_dilate():
    assert list(free_units('mobilenetv2', MOBILENETV2)) == list(range(1, 18))
    assert list(free_units('resnet', [1, 1, 2, 4])) == list(range(8))


def test_unknown_name_lists_the_known_ones():
    with pytest.raises(ValueError, match="'CR-ResNet34'.*SCR-ResNet18, CR-ResNet18.*ResNeXt101"):
        published('CR-ResNet34')
    with pytest.raises(ValueError, match='CR-ResNeXt50-32x4d'):
        published('CR-ResNeXt50-32x4d')


@pytest.mark.parametrize(
    ('family', 'blocks', 'num_blocks', 'message'),
    [
        ('vgg', [1, 1, 2, 4], None, "'mobilenetv2'.*got 'vgg'"),
        ('resnet', [3, 4, 6], None, r'resnet is four numbers, got \[3, 4, 6\]'),
        ('resnet', 16, None, 'four numbers, got 16'),
        ('resnet', [0, 4, 6, 6], None, r'at least one, got \[0, 4, 6, 6\]'),
        ('resnext', [3, 4, 6.0, 3], None, r'whole number of blocks.*6\.0'),
        ('resnet', [True, 3, 5, 7], None, 'whole number of blocks.*True'),
        ('resnet', [1, 3, 5, 8], 16, r'\[1, 3, 5, 8\] has 17 blocks; it must have 16'),
        ('mobilenetv2', [2, 2, 3, 4, 4], None, r'\[1, 1, m1, .*got \[2, 2, 3, 4, 4\]'),
        ('mobilenetv2', [1, 2, 2, 2, 3, 4, 4, 1, 1, 1], None, 'first two and the last three'),
        ('mobilenetv2', [1, 1, 2, 2, 3, 4, 4, 1, 1, 2], None, 'first two and the last three'),
        ('mobilenetv2', [1, 1, 2, 3, 3, 4, 4, 1, 1, 1], None, r'cost 17\.0; the budget is 16\.0'),
        ('mobilenetv2', [1, 1, 2, 3, 4, 4, 3, 1, 1, 1], None, r'cost 16\.75; the budget'),
        ('mobilenetv2', MOBILENETV2, 21, 'has 20 blocks; it must have 21'),
    ],
)
def test_bad_stage_codes_are_refused(family, blocks, num_blocks, message):
    with pytest.raises(ValueError, match=message):
        check_stage_blocks(family, blocks, num_blocks)


def test_stage_codes_outside_the_searched_sets_are_valid():
    check_stage_blocks('resnext', [3, 4, 15, 11], 33)
    check_stage_blocks('resnet', (11, 1, 1, 1))


@pytest.mark.parametrize(
    ('family', 'blocks', 'codes', 'message'),
    [
        ('vgg', [1, 1, 2, 4], [0] * 8, "got 'vgg'"),
        ('resnet', [1, 1, 2, 4], [0] * 7, r'\[1, 1, 2, 4\] has 8 entries, got \[0, 0'),
        ('resnet', [1, 1, 2, 4], '00101021', "has 8 entries, got '00101021'"),
        ('resnet', [1, 1, 2, 4], [0, 0, 3, 0, 0, 0, 0, 0], 'entry 2 .* is 3; it must be 0, 1 or 2'),
        ('resnet', [1, 1, 2, 4], [0, 0, 0, 0, 0, 0, 0, -1], 'entry 7 .* is -1'),
        ('resnet', [1, 1, 2, 4], [0, 1.0, 0, 0, 0, 0, 0, 0], r'entry 1 .* is 1\.0'),
        ('mobilenetv2', MOBILENETV2, [1] + [0] * 19, 'entry 0 .* is 1; MobileNetV2'),
        ('mobilenetv2', MOBILENETV2, [0] * 18 + [2, 0], 'entry 18 .* is 2; MobileNetV2'),
        ('mobilenetv2', MOBILENETV2, [0] * 19 + [1], 'entry 19 .* is 1; MobileNetV2'),
    ],
)
def test_bad_operation_codes_are_refused(family, blocks, codes, message):
    with pytest.raises(ValueError, match=message):
        check_codes(family, blocks, codes)


def test_split_needs_one_entry_per_block():
    with pytest.raises(ValueError, match=r'\[1, 1, 2, 4\] has 8 blocks, .* 9 entries'):
        split_codes([1, 1, 2, 4], [0] * 9)
