"""The segmentation configs: DO-Conv is in the layers of the paper and folds away, its ImageNet
training is of the segmenter's own backbone, and data, schedule and test are as documented."""

import copy
import functools
import re
from pathlib import Path
from unittest import mock

import mmengine
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import DATASETS, MODELS, PARAM_SCHEDULERS, DefaultScope
from mmengine.runner import Runner
from mmengine.structures import PixelData
from torch import nn

from mmic.datasets.generated import make_generated
from mmic.deploy import fuse
from mmic.engine.reproduce import inputs_of, steps_of
from mmic.engine.rows import read_rows
from mmic.layers import DOConv2d
from mmic.layers.own_conv import real_dilation

pytest.importorskip('mmseg', reason='mmseg is missing')

FOLDER = Path(__file__).resolve().parents[1] / 'configs' / 'do_conv' / 'segmentation'
CITYSCAPES = 'deeplabv3_r50-d8_40k_cityscapes-512x1024'
VOC = 'deeplabv3_r101-d8_40k_voc12aug-512x512'
PLAIN = {
    'deeplabv3_do-r50-d8_do-heads_40k_cityscapes-512x1024': CITYSCAPES,
    'deeplabv3_do-r101-d8_do-heads_40k_voc12aug-512x512': VOC,
}
SEGMENTERS = [*PLAIN, CITYSCAPES, VOC]
# The ImageNet training of each one's backbone.
PRETRAIN = dict(
    zip(
        SEGMENTERS,
        (
            *('do-r50-v1c_120e_in1k', 'do-r101-v1c_120e_in1k'),
            *('r50-v1c_120e_in1k', 'r101-v1c_120e_in1k'),
        ),
    )
)
BLOCKS = {'r50': (3, 4, 6, 3), 'r101': (3, 4, 23, 3)}
CLASSES = {'cityscapes': 19, 'voc12aug': 21}

# Config.fromfile reads a host's whole index of models for each of its files that it inherits.
read_once = functools.lru_cache(maxsize=None)(mmengine.fileio.load)


@functools.lru_cache(maxsize=None)
def load_once(name):
    with mock.patch('mmengine.config.utils.load', read_once):
        return Config.fromfile(FOLDER / f'{name}.py')


def load(name):
    """A config without pretrained weights, so that nothing is downloaded."""
    cfg = copy.deepcopy(load_once(name))
    cfg.model.backbone.init_cfg = None
    return cfg


def thin(name):
    """The same with a twentieth of the channels."""
    cfg = load(name)
    model = cfg.model
    model.backbone.update(base_channels=4, stem_channels=4)
    model.decode_head.update(in_channels=4 * 8 * 4, channels=8)
    model.auxiliary_head.update(in_channels=4 * 4 * 4, channels=8)
    return cfg


def build(model, scope='mmseg', device='cpu'):
    with DefaultScope.overwrite_default_scope(scope), torch.device(device):
        return MODELS.build(ConfigDict(copy.deepcopy(model)))


def backbone_of(name):
    return re.search(r'r(50|101)', name)[0]


def over_parameterised(name):
    """C_in of every convolution that is not 1x1, by name: the network as the papers draw it."""
    channels = {'backbone.stem.0': 3, 'backbone.stem.3': 32, 'backbone.stem.6': 32}
    for stage, blocks in enumerate(BLOCKS[backbone_of(name)]):
        for block in range(blocks):
            channels[f'backbone.layer{stage + 1}.{block}.conv2'] = 64 * 2**stage
    channels.update({f'decode_head.aspp_modules.{rate}.conv': 2048 for rate in (1, 2, 3)})
    # What reads the image's mean, a 1x1 convolution and three dilated ones.
    channels['decode_head.bottleneck.conv'] = 5 * 512
    channels['auxiliary_head.convs.0.conv'] = 1024
    return channels


def randomise(model):
    """Draw weights, and of batch normalisation also what it has seen, as if it were trained."""
    generator = torch.Generator().manual_seed(0)

    def draw(tensor):
        return torch.randn(tensor.shape, generator=generator)

    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.weight.copy_(1 + 0.2 * draw(module.weight))
                module.bias.copy_(0.2 * draw(module.bias))
                module.running_mean.copy_(0.2 * draw(module.running_mean))
                module.running_var.copy_((0.3 * draw(module.running_var)).exp())
            elif isinstance(module, DOConv2d):
                module.depthwise.copy_(0.1 * draw(module.depthwise))
    return model


@torch.no_grad()
def outputs(model, images):
    """Logits of both heads."""
    features = model.eval().extract_feat(images)
    return [model.decode_head(features), model.auxiliary_head(features)]


def test_configs_are_found():
    names = {path.stem for path in FOLDER.glob('*.py')}
    assert names == {*SEGMENTERS, *PRETRAIN.values()}


# Networks


@pytest.mark.parametrize('name', SEGMENTERS)
def test_network_is_what_the_name_says(name):
    cfg = load(name)
    model = build(cfg.model, device='meta')
    data = re.search('cityscapes|voc12aug', name)[0]
    heads = [model.decode_head, model.auxiliary_head]
    assert [head.conv_seg.out_channels for head in heads] == [CLASSES[data]] * 2
    stages = [getattr(model.backbone, f'layer{stage}') for stage in (1, 2, 3, 4)]
    assert tuple(map(len, stages)) == BLOCKS[backbone_of(name)]
    # The first block of a stage keeps the dilation before it.
    dilations = [[real_dilation(block.conv2)[0] for block in stage] for stage in stages]
    assert dilations[:2] == [[1] * len(stages[0]), [1] * len(stages[1])]
    assert dilations[2] == [1] + [2] * (len(stages[2]) - 1)
    assert dilations[3] == [2] + [4] * (len(stages[3]) - 1)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    model.train()
    assert all(isinstance(norm, nn.SyncBatchNorm) and norm.training for norm in norms)
    assert all(parameter.requires_grad for parameter in model.parameters())


@pytest.mark.parametrize('name', PLAIN)
def test_config_differs_from_the_plain_one_in_the_convolutions_only(name):
    ours, plain = load_once(name).to_dict(), load_once(PLAIN[name]).to_dict()
    assert ours.pop('custom_imports') == dict(imports=['mmic'], allow_failed_imports=False)
    for part in ('backbone', 'decode_head', 'auxiliary_head'):
        assert ours['model'][part].pop('conv_cfg') == dict(type='DOConv2d')
    assert ours == plain


@pytest.mark.parametrize('name', PLAIN)
def test_every_convolution_but_the_1x1_ones_is_over_parameterised(name):
    ours = build(load(name).model, device='meta')
    plain = build(load(PLAIN[name]).model, device='meta')
    expected = over_parameterised(name)
    assert {n for n, m in ours.named_modules() if isinstance(m, DOConv2d)} == set(expected)
    left = [m for m in ours.modules() if isinstance(m, nn.Conv2d) and not isinstance(m, DOConv2d)]
    assert {conv.kernel_size for conv in left} == {(1, 1)}
    shapes = {key: value.shape for key, value in plain.state_dict().items()}
    shapes.update({f'{layer}.depthwise': (9, 9, c) for layer, c in expected.items()})
    assert {key: value.shape for key, value in ours.state_dict().items()} == shapes


def test_readme_counts_the_parameters():
    page = (FOLDER / 'README.md').read_text()
    told = dict(re.findall(r'\]\(([\w.-]+)\.py\) \| ([\d.]+) M \|', page))
    counts = {}
    for name in (CITYSCAPES, VOC):
        model = build(load(name).model, device='meta')
        counts[name] = sum(parameter.numel() for parameter in model.parameters())
    for name, plain in PLAIN.items():
        counts[name] = counts[plain] + 81 * sum(over_parameterised(name).values())
    assert told == {name: f'{count / 1e6:.2f}' for name, count in counts.items()}


@pytest.mark.parametrize('name', PLAIN)
def test_it_starts_as_the_plain_network(name):
    torch.manual_seed(0)
    plain = randomise(build(thin(PLAIN[name]).model))
    ours = build(thin(name).model)
    missing, unexpected = ours.load_state_dict(plain.state_dict())
    assert missing == unexpected == []
    images = torch.randn(2, 3, 64, 96)
    for found, expected in zip(outputs(ours, images), outputs(plain, images)):
        assert expected.std() > 1e-3
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('name', PLAIN)
def test_it_folds_into_the_plain_network(name):
    torch.manual_seed(0)
    ours = randomise(build(thin(name).model)).double()
    plain = build(thin(PLAIN[name]).model).double()
    folded = fuse(ours, fold_bn=False)
    plain.load_state_dict(folded.state_dict())
    images = torch.randn(2, 3, 64, 96).double()
    for found, expected in zip(outputs(plain, images), outputs(ours, images)):
        torch.testing.assert_close(found, expected)
    count = sum(parameter.numel() for parameter in folded.parameters())
    assert count == sum(parameter.numel() for parameter in plain.parameters())


def test_a_training_step_reaches_both_kernels_everywhere():
    from mmseg.structures import SegDataSample

    torch.manual_seed(0)
    model = revert_sync_batchnorm(build(thin(next(iter(PLAIN))).model)).train()
    samples = [SegDataSample(metainfo=dict(img_shape=(64, 96))) for _ in range(2)]
    for sample in samples:
        labels = torch.randint(0, 19, (1, 64, 96))
        labels[:, :8] = 255  # not labelled
        sample.gt_sem_seg = PixelData(data=labels)
    losses = model(torch.randn(2, 3, 64, 96), samples, mode='loss')
    assert {'decode.loss_ce', 'aux.loss_ce'} <= losses.keys()
    total, _ = model.parse_losses(losses)
    total.backward()
    assert total.isfinite()
    for layer, conv in model.named_modules():
        if isinstance(conv, DOConv2d):
            for kernel in (conv.weight, conv.depthwise):
                assert kernel.grad.isfinite().all(), layer
                assert kernel.grad.abs().sum() > 0, layer


# ImageNet training of the backbone


@pytest.mark.parametrize('name', PRETRAIN)
def test_imagenet_training_has_the_backbone_of_the_segmenter(name):
    pytest.importorskip('mmpretrain', reason='mmpretrain is missing')
    cfg = load_once(PRETRAIN[name])
    classifier = build(cfg.model, 'mmpretrain', 'meta')
    segmenter = build(load(name).model, device='meta')
    weights = {k: v.shape for k, v in classifier.backbone.state_dict().items()}
    assert weights == {k: v.shape for k, v in segmenter.backbone.state_dict().items()}
    changed = sum(isinstance(m, DOConv2d) for m in classifier.modules())
    assert changed == (3 + sum(BLOCKS[backbone_of(name)]) if name in PLAIN else 0)
    # As ResNet-v1b, with DO-Conv or without.
    other = load_once('../imagenet/r50-v1b_120e_in1k')
    assert {k: v for k, v in cfg.items() if k != 'model'} == {
        k: v for k, v in other.items() if k != 'model'
    }
    # Strides in place of dilations.
    firsts = [getattr(classifier.backbone, f'layer{stage}')[0].conv2 for stage in (1, 2, 3, 4)]
    assert [conv.stride[0] for conv in firsts] == [1, 2, 2, 2]
    assert {real_dilation(m) for m in classifier.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}


@pytest.mark.parametrize('row', ['both', 'seg_only'])
def test_segmenter_starts_from_the_imagenet_training(row, tmp_path):
    pytest.importorskip('mmpretrain', reason='mmpretrain is missing')
    name = next(iter(PLAIN))
    cfg = copy.deepcopy(load_once(PRETRAIN[name if row == 'both' else CITYSCAPES])).model
    cfg.backbone.update(base_channels=4, stem_channels=4)
    cfg.head.in_channels = 4 * 8 * 4
    classifier = randomise(build(cfg, 'mmpretrain'))
    checkpoint = tmp_path / 'imagenet.pth'
    torch.save(dict(state_dict=classifier.state_dict()), checkpoint)
    step = steps_of(read_rows(), f'do.t4.deeplabv3.cityscapes.{row}')[1]
    options = [word.split('=') for word in step.command if word.startswith('model.')]
    model = thin(name).model
    model.backbone.init_cfg = load_once(name).model.backbone.init_cfg
    for key, value in options:
        model.backbone.init_cfg[key.rpartition('.')[2]] = value
    model.backbone.init_cfg.checkpoint = str(checkpoint)
    segmenter = build(model)
    segmenter.init_weights()
    found, expected = segmenter.backbone.state_dict(), classifier.backbone.state_dict()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    learnt = [bool(value.any()) for key, value in found.items() if key.endswith('.depthwise')]
    assert learnt == [row == 'both'] * (3 + sum(BLOCKS['r50']))


def test_commands_of_both_stages():
    steps = steps_of(read_rows(), 'do.t4.deeplabv3.voc.both')
    config = 'configs/do_conv/segmentation/deeplabv3_do-r101-d8_do-heads_40k_voc12aug-512x512.py'
    folder = 'work_dirs/do.t4.deeplabv3.voc.both/train'
    assert [' '.join(step.command) for step in steps] == [
        'tools/train.py configs/do_conv/segmentation/do-r101-v1c_120e_in1k.py',
        f'tools/train.py {config} --work-dir {folder} --cfg-options '
        'model.backbone.init_cfg.checkpoint=work_dirs/do-r101-v1c_120e_in1k/epoch_120.pth '
        'model.backbone.init_cfg.prefix=backbone.',
        f'tools/test.py {config} {folder}/iter_40000.pth',
    ]
    assert inputs_of(steps) == (['data/VOCdevkit', 'data/imagenet'], [])


# Schedule and data


@pytest.mark.parametrize('name', SEGMENTERS)
def test_schedule_is_the_documented_one(name):
    cfg = load_once(name)
    optimizer = cfg.optim_wrapper.optimizer
    assert (optimizer.type, optimizer.lr, optimizer.momentum) == ('SGD', 0.01, 0.9)
    assert optimizer.weight_decay == 5e-4
    assert cfg.train_cfg.max_iters == 40000
    # On 4 GPUs.
    batch = 8 if 'cityscapes' in name else 16
    assert cfg.train_dataloader.batch_size * 4 == cfg.auto_scale_lr.base_batch_size == batch
    assert load_once(CITYSCAPES).param_scheduler == cfg.param_scheduler


def test_rate_falls_as_a_power_of_what_is_left():
    cfg = load_once(CITYSCAPES)
    optimizer = torch.optim.SGD(nn.Linear(1, 1).parameters(), lr=cfg.optim_wrapper.optimizer.lr)
    with DefaultScope.overwrite_default_scope('mmseg'):
        (schedule,) = cfg.param_scheduler
        schedule = PARAM_SCHEDULERS.build(dict(schedule), default_args=dict(optimizer=optimizer))
    optimizer.step()  # the scheduler wants one before its own
    for iteration in range(40000):
        if iteration % 4000 == 0:
            expected = 1e-4 + (0.01 - 1e-4) * (1 - iteration / 39999) ** 0.9
            assert optimizer.param_groups[0]['lr'] == pytest.approx(expected)
        schedule.step()
    assert optimizer.param_groups[0]['lr'] == pytest.approx(1e-4)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Generated Cityscapes and VOC."""
    root = tmp_path_factory.mktemp('data') / 'generated'
    make_generated(root, ['cityscapes', 'VOCdevkit'], num_train=2, num_val=2)
    return root


def pointed_at(value, root):
    """A part of a config with ``data/`` replaced."""
    if isinstance(value, dict):
        return {key: pointed_at(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [pointed_at(item, root) for item in value]
    if isinstance(value, str) and value.startswith('data/'):
        return str(root / value[len('data/') :])
    return value


def build_data(dataset, root):
    with DefaultScope.overwrite_default_scope('mmseg'):
        return DATASETS.build(pointed_at(dataset.to_dict(), root))


@pytest.mark.parametrize(('name', 'crop'), [(CITYSCAPES, (512, 1024)), (VOC, (512, 512))])
def test_data_are_read_and_cropped(name, crop, data):
    cfg = load_once(name)
    train = build_data(cfg.train_dataloader.dataset, data)
    sample = train[0]
    assert cfg.model.data_preprocessor.size == crop
    assert sample['inputs'].shape[0] == 3
    assert sample['inputs'].shape[1:] == sample['data_samples'].gt_sem_seg.shape
    assert all(side <= limit for side, limit in zip(sample['inputs'].shape[1:], crop))
    val = build_data(cfg.val_dataloader.dataset, data)
    assert len(val) == 2
    assert len(val.metainfo['classes']) == cfg.model.decode_head.num_classes
    # Labels stay as they are in the file; the image is enlarged as far as it fits.
    sample = val[0]
    assert sample['data_samples'].gt_sem_seg.shape == sample['data_samples'].ori_shape
    height, width = sample['data_samples'].ori_shape
    longest, shortest = 2048, 1024 if name == CITYSCAPES else 512
    scale = min(longest / max(height, width), shortest / min(height, width))
    assert sample['inputs'].shape[1:] == (int(height * scale + 0.5), int(width * scale + 0.5))


@pytest.mark.parametrize('name', [CITYSCAPES, VOC])
def test_several_scales_are_averaged(name, data):
    cfg = thin(name)
    dataset = cfg.test_dataloader.dataset
    dataset.pipeline = cfg.tta_pipeline
    views = build_data(dataset, data)[0]
    height, width = views['data_samples'][0].ori_shape
    sizes = [tuple(view.shape[1:]) for view in views['inputs']]
    scales = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
    assert sizes == [(int(height * s + 0.5), int(width * s + 0.5)) for s in scales for _ in 'ab']
    for plain, mirrored in zip(views['inputs'][::2], views['inputs'][1::2]):
        assert torch.equal(plain.flip(2), mirrored)
    torch.manual_seed(0)
    model = build(dict(cfg.tta_model, module=cfg.model)).eval()
    randomise(model)
    with torch.no_grad():
        batch = {key: [[view] for view in value] for key, value in views.items()}
        (found,) = model.test_step(copy.deepcopy(batch))
        total = 0
        for image, sample in zip(views['inputs'], views['data_samples']):
            alone = model.module.test_step(dict(inputs=[image], data_samples=[sample]))
            total = total + alone[0].seg_logits.data.softmax(0)
    assert torch.equal(found.pred_sem_seg.data.squeeze(), total.argmax(0))


def small(value):
    """A part of a config with images and crops of 64 pixels a side."""
    if isinstance(value, list):
        return [small(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {key: small(item) for key, item in value.items()}
    sides = {'Resize': 'scale', 'RandomResize': 'scale', 'RandomCrop': 'crop_size', 'Pad': 'size'}
    sides['SegDataPreProcessor'] = 'size'
    if value.get('type') in sides:
        value[sides[value['type']]] = (64, 64)
    return value


@pytest.mark.parametrize('name', PLAIN)
def test_it_trains_and_tests(name, data, tmp_path, monkeypatch):
    # The Runner formats its config six times, which takes longer than all the rest.
    monkeypatch.setattr(Config, 'pretty_text', '')
    cfg = Config(small(pointed_at(thin(name).to_dict(), data)))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        loader.update(num_workers=0, persistent_workers=False)
    cfg.train_cfg.update(max_iters=2, val_interval=2)
    cfg.work_dir, cfg.experiment_name = str(tmp_path), tmp_path.name
    runner = Runner.from_cfg(cfg)
    before = copy.deepcopy(runner.model.state_dict())
    runner.train()
    assert (tmp_path / 'iter_2.pth').is_file()
    after = runner.model.state_dict()
    kernels = [key for key in after if key.endswith('.depthwise')]
    assert len(kernels) == len(over_parameterised(name))
    assert all(not torch.equal(before[key], after[key]) for key in kernels)
    assert 0 <= runner.test()['mIoU'] <= 100
