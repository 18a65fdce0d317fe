"""The two searches of CR-NAS with a Runner: supernet, journal, ranking."""

import copy
import hashlib
from pathlib import Path

from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.model import revert_sync_batchnorm
from mmengine.runner import Runner

from mmic.engine.path_sampling import supernet_of
from mmic.models.cr_nas import CRBackbone
from mmic.search.cr_nas import draw_completions, greedy_ranking, search_stages
from mmic.search.journal import Journal
from mmic.supernet.paths import choice_modules, fixed_units

# What a Runner would build to train and test.
LOOPS = ('dataloader', 'cfg', 'evaluator')
UNUSED = [f'{mode}_{part}' for mode in ('train', 'val', 'test') for part in LOOPS]


def supernet_of_config(cfg):
    """Let a Runner start the processes and build the model, and nothing to train with.

    Args:
        cfg (Config): Of the supernet; it is left as it is.

    Returns:
        nn.Module: The model, without what distributed training wraps it in and without
        synchronised batch normalisation: each process runs paths of its own.
    """
    cfg = copy.deepcopy(cfg)
    cfg.merge_from_dict(dict.fromkeys([*UNUSED, 'optim_wrapper', 'param_scheduler', 'load_from']))
    cfg.merge_from_dict(dict(resume=False, custom_hooks=[], log_level='WARNING'))
    return revert_sync_batchnorm(supernet_of(Runner.from_cfg(cfg)))


def load_supernet(model, state, path):
    """Load a checkpoint into the supernet that it was trained as.

    Args:
        model (nn.Module): The supernet.
        state (dict[str, Tensor]): The checkpoint's tensors.
        path (str): The file, for messages.

    Raises:
        ValueError: Tensors are missing, unknown or of other shapes; the message names the first.
    """
    wanted = model.state_dict()
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    told = f'{path} is no checkpoint of this supernet: '
    for names, fault in ((missing, 'not in it'), (unknown, 'in it and not in the supernet')):
        if names:
            raise ValueError(f'{told}{names[0]!r} is {fault} ({len(names)} tensors are).')
    for name, value in wanted.items():
        if state[name].shape != value.shape:
            raise ValueError(
                f'{told}{name!r} has shape {tuple(state[name].shape)}, in the supernet '
                f'{tuple(value.shape)}.'
            )
    model.load_state_dict(state)


def supernet_backbone(model, kind):
    """Return the backbone of a CR-NAS supernet.

    Args:
        model (nn.Module): A detector or another model with a ``backbone``.
        kind (str): ``'stage'`` or ``'operation'``, the search it must be for.

    Raises:
        ValueError: It is no such supernet; the message says what it is.
    """
    backbone = getattr(model, 'backbone', None)
    found = getattr(backbone, 'search', None) if isinstance(backbone, CRBackbone) else None
    if found != kind:
        told = f'of the {found} search' if found else 'no supernet of CR-NAS'
        raise ValueError(
            f'{type(backbone).__name__} is {told}; the {kind} search needs one like '
            f"model.backbone=dict(type='CRResNet', depth=50, search='{kind}', ...)."
        )
    return backbone


def rank_stages(candidates, score, journal, progress=None):
    """Score stage codes (Eq. 1).

    Args:
        candidates (list[tuple[int, ...]]): See ``eligible_stages``.
        score (PathScore): Of the supernet.
        journal (Journal): Of the search.
        progress (Callable[[int, int], None], optional): See ``search_stages``.

    Returns:
        list[tuple[tuple[int, ...], float]]: Paths and scores, best first.
    """
    scored = journal.score(lambda path: score([path] * score.num_batches))
    return search_stages(scored, candidates, progress)


def rank_operations(backbone, k, seed, score, journal, progress=None):
    """Choose dilations block by block (Algorithm 1); arguments as of ``rank_stages``, and:

    Args:
        backbone (nn.Module): See ``supernet_backbone``.
        k (int): Prefixes kept after each block.
        seed (int): See ``draw_completions``.

    Returns:
        list[tuple[tuple[int, ...], float]]: Paths and scores of the last step, best first.
    """
    num_blocks = len(choice_modules(backbone))
    before, after = ((1,) * units for units in fixed_units(backbone))

    def score_prefix(prefix):
        drawn = draw_completions(prefix, num_blocks, score.num_batches, seed=seed)
        return score([before + dilations + after for dilations in drawn])

    ranking = greedy_ranking(journal.score(score_prefix), num_blocks, k=k, progress=progress)
    return [(before + dilations + after, value) for dilations, value in ranking]


def journal_header(kind, cfg, checkpoint, score, **options):
    """List what a score depends on, so that a journal is continued under the same alone.

    Args:
        kind (str): ``'stage'`` or ``'operation'``.
        cfg (Config): Of the supernet. Of its loaders only the images and batch sizes count.
        checkpoint (str): The file.
        score (PathScore): Of the supernet.
        **options: Further settings.

    Returns:
        dict
    """
    loaders = [cfg.val_dataloader] + ([cfg.train_dataloader] if score.recalibrate else [])
    data = [(loader.dataset, loader.batch_size) for loader in loaders]
    return dict(
        kind=kind,
        **options,
        images=score.num_images,
        batches=score.num_batches,
        config=Path(cfg.filename).name,
        checkpoint=Path(checkpoint).name,
        model=fingerprint(repr(cfg.model).encode()),
        data=fingerprint(repr([data, cfg.val_evaluator]).encode()),
        weights=fingerprint(Path(checkpoint).read_bytes()),
    )


def open_journal(path, header):
    """Open a search's journal in the main process, and share its scores with the others.

    Args:
        path (str | Path): The file.
        header (dict): See ``Journal``.

    Returns:
        Journal: It writes in the main process only.

    Raises:
        ValueError | OSError: As of ``Journal``, in all processes.
    """
    journal, shared = Journal(None, header), [None, None]
    if is_main_process():
        try:
            journal = Journal(path, header)
            shared = [journal.scores, None]
        except (ValueError, OSError) as error:
            shared = [None, error]
    broadcast_object_list(shared)
    scores, error = shared
    if error is not None:
        raise error
    journal.scores.update(scores)
    return journal


def fingerprint(content):
    """Sixteen hexadecimal digits that tell contents apart."""
    return hashlib.sha256(content).hexdigest()[:16]
