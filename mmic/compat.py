"""Everything that differs between the two dependency stacks."""

import pickle

import torch
from mmengine.logging import print_log
from mmengine.runner import checkpoint as mmengine_checkpoint


def read_checkpoint(path, trust=False):
    """Read a checkpoint without running code that it may carry.

    torch from 2.6 on reads tensors and an allow-list of harmless types, to which mmengine's
    log history is added. Older torch cannot be given that list, so a checkpoint of mmengine's
    is unpickled in full there, with a warning.

    Args:
        path (str | Path): A ``.pth`` file.
        trust (bool): Unpickle whatever the file holds. Defaults to False.

    Returns:
        dict: The checkpoint, on the CPU.

    Raises:
        ValueError: Not a checkpoint, or it holds objects outside the allow-list.
    """
    # The allow-list exists where torch is new enough to use it.
    allowed = getattr(mmengine_checkpoint, 'get_torch_safe_globals', None)
    try:
        if trust:
            return torch.load(path, map_location='cpu', weights_only=False)
        if allowed is not None:
            with torch.serialization.safe_globals(allowed()):
                return torch.load(path, map_location='cpu', weights_only=True)
        try:
            return torch.load(path, map_location='cpu', weights_only=True)
        except pickle.UnpicklingError:
            print_log(
                f'{path} holds more than tensors, and torch {torch.__version__} cannot read it '
                'without running what it holds. Only open files whose source you trust.',
                logger='current',
                level=30,
            )
            return torch.load(path, map_location='cpu', weights_only=False)
    except FileNotFoundError:
        raise
    except pickle.UnpicklingError as error:
        raise ValueError(
            f'{path} cannot be read safely: {str(error).splitlines()[0]} '
            'If you trust its source, pass --trust-checkpoint.'
        ) from None
    except (RuntimeError, EOFError, OSError) as error:
        raise ValueError(f'{path} is not a checkpoint, or is cut short: {error}') from None
