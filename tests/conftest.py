"""What is made once for all tests: toy data, and a supernet detector trained on it."""

from types import SimpleNamespace

import pytest
import torch
from helpers import call_search, run_tool, write_detector_config

from mmic.datasets import make_toy_coco


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    """Several threads take up to ten times as long over small tensors where cores are busy."""
    torch.set_num_threads(1)


@pytest.fixture(scope='session', autouse=True)
def _plain_config_text():
    """mmengine lays out a config six times a run, which takes longer than a tiny training."""

    def leave(text, **_):
        return text, True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', leave)
        # Some releases of mmengine import it at once.
        patch.setattr('mmengine.config.config.FormatCode', leave, raising=False)
        yield


@pytest.fixture(scope='session')
def toy_data(tmp_path_factory):
    """Folder of 8 training and 3 validation images."""
    return make_toy_coco(tmp_path_factory.mktemp('data') / 'toy', 8, 3, image_size=192)


@pytest.fixture(scope='session')
def supernet(tmp_path_factory, toy_data):
    """A supernet detector (d_max 2) after 4 iterations of ``tools/train.py``.

    Returns:
        SimpleNamespace: ``config``, ``checkpoint``, and ``log``, what the command printed.
    """
    folder = tmp_path_factory.mktemp('supernet')
    config = write_detector_config(folder / 'supernet.py', toy_data, type='ICResNet', d_max=2)
    log = run_tool('train.py', config, '--work-dir', folder / 'run')
    return SimpleNamespace(config=config, checkpoint=folder / 'run' / 'epoch_1.pth', log=log)


@pytest.fixture(scope='session')
def pattern(tmp_path_factory, supernet):
    """The pattern file that EDO writes for the supernet, in the default layout."""
    out = tmp_path_factory.mktemp('pattern') / 'pattern.json'
    call_search(supernet.config, supernet.checkpoint, out)
    return out


@pytest.fixture(scope='session')
def searched_config(tmp_path_factory, toy_data, pattern):
    """Config of the searched detector."""
    path = tmp_path_factory.mktemp('searched') / 'searched.py'
    return write_detector_config(path, toy_data, type='ICResNet', pattern=pattern.as_posix())
