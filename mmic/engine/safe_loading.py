"""Let mmengine read checkpoints without running code that they carry, from any trainer.

mmengine allows ``getattr`` and its own log history, with which a file reaches anything, and where
that does not do it unpickles whatever the file holds.
"""

import os
import re
from pathlib import Path
from typing import Any, Dict, Optional
from urllib.parse import urlparse

import torch
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmengine.runner import checkpoint as mmengine_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

from mmic.checkpoint import state_dict_of
from mmic.engine.resumable import load_to_resume
from mmic.files import BadFileError

HUB_URL = mmengine_checkpoint.load_url


def with_state_dict(content: Any, path: str, model: Optional[nn.Module] = None) -> Dict[str, Any]:
    """Put the weights of a checkpoint of any trainer where mmengine looks for them.

    Args:
        content: What a file holds.
        path (str): The file, for messages.
        model (nn.Module, optional): The network of the weights. Defaults to None: see
            ``state_dict_of``.

    Raises:
        BadFileError: It holds no state dict.
    """
    try:
        state = state_dict_of(content, path, model)
    except ValueError as error:
        raise BadFileError(str(error)) from None
    if isinstance(content, dict):
        read = content.get('state_dict', content)
        # What else lies among the weights, and the versions of their layers, is mmengine's.
        if isinstance(read, dict) and state.keys() <= read.keys():
            return content
        return {**content, 'state_dict': state}
    return {'state_dict': state}


class CheckpointFitHook(Hook):
    """Refuses a checkpoint of which no weight is the network's; mmengine would load none of it."""

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take prefixes away that only the network's names tell of, then look what fits."""
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        path = str(runner._load_from)
        names = model.state_dict().keys()
        read = checkpoint.get('state_dict', checkpoint)
        if names and not names & {re.sub(r'^module\.', '', name) for name in read}:
            found = with_state_dict(checkpoint, path, model)
            if not names & found.get('state_dict', found).keys():
                first = f'{next(iter(read))} where the network has {next(iter(names))}'
                raise BadFileError(
                    f'{path}: none of its weights is of this network: it has {first}. Is it of '
                    'this config?'
                )
            checkpoint.update(found)


def read_safely(trust: bool = False) -> None:
    """Make mmengine read checkpoints safely in this process: to load, to resume, to start from.

    Those that it downloads are read alike. They are read to the CPU, from where mmengine copies.

    Args:
        trust (bool): Let mmengine unpickle whatever files hold. Defaults to False.
    """

    def load_from_local(filename: str, map_location: Any = None) -> Any:
        path = os.path.expanduser(filename)
        if not os.path.isfile(path):
            raise FileNotFoundError(f'There is no checkpoint {path}.')
        return with_state_dict(load_to_resume(path, trust), path)

    def load_url(
        url: str, model_dir: Optional[str] = None, map_location: Any = None, progress: bool = True
    ) -> Any:
        folder = Path(model_dir or Path(torch.hub.get_dir(), 'checkpoints'))
        path = folder / Path(urlparse(url).path).name
        if not path.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            torch.hub.download_url_to_file(url, str(path), progress=progress)
        return load_from_local(str(path))

    CheckpointLoader.register_scheme(prefixes='', loader=load_from_local, force=True)
    mmengine_checkpoint.load_url = HUB_URL if trust else load_url
