"""What several tests share: the commands, tiny configs, and naive forms of the mathematics."""

import contextlib
import io
import json
import os
import runpy
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
TOOLS = ROOT / 'tools'

# No choice is random in it: no flip, and samplers larger than the number of anchors, since
# mmengine restores no random states on resume.
DETECTOR = """
_base_ = ['mmdet::_base_/models/faster-rcnn_r50_fpn.py', 'mmdet::_base_/default_runtime.py']
custom_imports = dict(imports=['mmic'], allow_failed_imports=False)
model = dict(
    backbone=dict(
        depth=18, base_channels=8, frozen_stages=-1, norm_eval=False, init_cfg=None, @BACKBONE@),
    neck=dict(in_channels=[8, 16, 32, 64], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16, roi_layer=dict(sampling_ratio=1)),
        bbox_head=dict(in_channels=16, fc_out_channels=16, num_classes=3)),
    train_cfg=dict(
        rpn=dict(sampler=dict(num=100000)),
        rpn_proposal=dict(nms_pre=50, max_per_img=20),
        rcnn=dict(sampler=dict(num=100000))),
    test_cfg=dict(rpn=dict(nms_pre=50, max_per_img=20), rcnn=dict(max_per_img=10)))
data_root = '@DATA@/'
metainfo = dict(classes=('near_red', 'near_green', 'near_blue'))
load = [
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations', with_bbox=True),
    dict(type='Resize', scale=(96, 96))]
train_dataloader = dict(
    batch_size=2,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='CocoDataset', data_root=data_root, ann_file='annotations/train.json',
        data_prefix=dict(img='train/'), metainfo=metainfo,
        pipeline=[*load, dict(type='PackDetInputs')]))
val_dataloader = dict(
    batch_size=1,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='CocoDataset', data_root=data_root, ann_file='annotations/val.json',
        data_prefix=dict(img='val/'), metainfo=metainfo, test_mode=True,
        pipeline=[*load, dict(
            type='PackDetInputs',
            meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'))]))
test_dataloader = val_dataloader
val_evaluator = dict(type='CocoMetric', ann_file=data_root + 'annotations/val.json', metric='bbox')
test_evaluator = val_evaluator
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
optim_wrapper = dict(
    type='OptimWrapper', clip_grad=dict(max_norm=10),
    optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4))
param_scheduler = [dict(type='LinearLR', start_factor=0.1, by_epoch=False, begin=0, end=10)]
default_hooks = dict(logger=dict(interval=1))
randomness = dict(seed=0)
"""

# A hook that ends its process as the system does when memory runs out.
KILLER = """
import os
import signal
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class KillHook(Hook):
    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == int(os.environ.get('KILL_BEFORE', -1)):
            os.kill(os.getpid(), signal.SIGKILL)
"""


def write_detector_config(path, data_root, extra='', **backbone):
    """Write the config of a Faster R-CNN R18 with 8 base channels, for images of 96 pixels.

    Args:
        path (Path): The config file.
        data_root (Path): What ``make_toy_coco`` made.
        extra (str): Further lines of the config.
        **backbone: Arguments of the backbone.

    Returns:
        Path: ``path``.
    """
    arguments = ', '.join(f'{name}={value!r}' for name, value in backbone.items())
    text = DETECTOR.replace('@BACKBONE@', arguments).replace('@DATA@', data_root.as_posix())
    path.write_text(text + extra)
    return path


def write_kill_hook(folder):
    """Write the module ``kill_hook``: before iteration ``KILL_BEFORE`` its process is killed."""
    (folder / 'kill_hook.py').write_text(KILLER)


def build_model(config):
    """Build the model of a config file."""
    cfg = Config.fromfile(config)
    init_default_scope(cfg.default_scope)
    return MODELS.build(cfg.model)


def tool_environment(**changes):
    """Variables for commands that tests start: one thread, no GPU, wide tables."""
    return {
        **os.environ,
        'OMP_NUM_THREADS': '1',
        'CUDA_VISIBLE_DEVICES': '',
        'COLUMNS': '250',
        **changes,
    }


def run_command(*command, code=0, cwd=None, timeout=240, **environment):
    """Run a command in a process of its own and check its exit status.

    Returns:
        str: Its standard output and error together.
    """
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=tool_environment(**environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert done.returncode == code, f'exit status {done.returncode} of {command}:\n{done.stdout}'
    return done.stdout


def run_tool(name, *arguments, **options):
    """Run ``tools/NAME`` in a process of its own; options are those of ``run_command``."""
    return run_command(sys.executable, TOOLS / name, *arguments, **options)


def run_python(code, **options):
    """Run Python code in a fresh interpreter; options are those of ``run_command``."""
    return run_command(sys.executable, '-c', code, **options)


def call_tool(name, *arguments):
    """Run ``tools/NAME`` in this process, which spares the imports.

    Returns:
        SimpleNamespace: ``code``, the exit status, and ``text``, all that it printed.
    """
    arguments = [str(argument) for argument in arguments]
    printed = io.StringIO()
    code = 0
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch.object(sys, 'argv', [str(TOOLS / name), *arguments]))
        stack.enter_context(mock.patch.dict(os.environ, COLUMNS='250'))
        stack.enter_context(contextlib.redirect_stdout(printed))
        stack.enter_context(contextlib.redirect_stderr(printed))
        try:
            runpy.run_path(str(TOOLS / name), run_name='__main__')
        except SystemExit as end:
            code = end.code or 0
            # Python prints a message that is given as exit status, and exits with 1.
            if isinstance(code, str):
                printed.write(code)
                code = 1
    return SimpleNamespace(code=code, text=printed.getvalue())


def call_search(config, checkpoint, out, *arguments):
    """Run ``edo_search.py``, which must succeed; return the pattern file's layers and the text.

    Returns:
        tuple[dict[str, list[tuple[int, int]]], str]: ``(d_h, d_w)`` of every channel by layer.
    """
    done = call_tool('edo_search.py', config, checkpoint, '--out', out, *arguments)
    assert done.code == 0, done.text
    return read_dilations(out), done.text


def read_dilations(path):
    """Read the dilations of a pattern file by hand: layer to ``(d_h, d_w)`` of every channel."""
    layers = json.loads(Path(path).read_text())['layers']
    return {
        name: [(h, w) for h, w, count in layer['dilations'] for _ in range(count)]
        for name, layer in layers.items()
    }


def free_port():
    """A port that no process listens on."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


def load_state(path):
    """The tensors of a checkpoint that a test made."""
    return torch.load(path, map_location='cpu', weights_only=False)['state_dict']


def is_searched(name, value):
    """Whether a tensor of a checkpoint is a supernet kernel: larger than 3x3, below the stem."""
    return name.startswith('backbone.layer') and value.ndim == 4 and value.shape[-1] > 3


def naive_edo(weight, space='full'):
    """Eq. 4 by loops, for 3x3 kernels.

    Args:
        weight (Tensor): Supernet kernels, (C_out, C_in / groups, S, S).
        space (str): ``'full'``, ``'1d'`` or ``'layer'``.

    Returns:
        list[tuple[int, int]]: ``(d_h, d_w)`` of every channel, where it was found.
    """
    side = weight.shape[-1]
    pairs = [(h, w) for h in range(1, side // 2 + 1) for w in range(1, side // 2 + 1)]
    if space == '1d':
        pairs = [(h, w) for h, w in pairs if h == w]
    rows = []
    for kernel in weight.double().sum(1).tolist():
        total = sum(map(sum, kernel))
        row = []
        for h, w in pairs:
            steps = (-1, 0, 1)
            kept = sum(kernel[side // 2 + u * h][side // 2 + v * w] for u in steps for v in steps)
            row.append(abs(total - kept))
        rows.append(row)
    if space == 'layer':
        sums = [sum(column) for column in zip(*rows)]
        rows = [sums] * len(rows)
    return [pairs[row.index(min(row))] for row in rows]


def naive_taps(weight, dilations):
    """The 3x3 kernels that lie at the dilations' taps of wide ones, by loops."""
    centre = weight.shape[-1] // 2
    taps = torch.zeros(*weight.shape[:2], 3, 3)
    for channel, (h, w) in enumerate(dilations):
        for u in range(3):
            for v in range(3):
                row, column = centre + (u - 1) * h, centre + (v - 1) * w
                taps[channel, :, u, v] = weight[channel, :, row, column]
    return taps


def picture_colours(path):
    """How many colours cover at least a thousandth of a picture; 1 where nothing is drawn."""
    with Image.open(path) as picture:
        found = picture.convert('RGB').getcolors(2**24)
        return sum(count >= picture.width * picture.height / 1000 for count, _ in found)
