"""What a NATS search shows while it runs: how decided alpha is, and the pattern it stands for."""

from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmic.analysis.show import count_dilations
from mmic.engine.path_sampling import supernet_of
from mmic.registry import HOOKS, register
from mmic.search.checkpoint import common_scope, read_alphas, supernet_convs
from mmic.search.layout import check_layout
from mmic.search.nats import relative_entropy, search_network
from mmic.supernet import MixedConv2d


@register(HOOKS)
class NATSHook(Hook):
    """Logs alpha's entropy and the decoded pattern, and writes the pattern file.

    Every iteration's log line has ``alpha_entropy``, the mean over layers of the softmax's
    entropy as a share of its largest value: 1 while nothing is decided, 0 when all is. At the
    end of every epoch the log lists each layer's entropy and dilations; TensorBoard, where the
    config has it, gets the entropies as ``alpha_entropy/LAYER``. With every checkpoint, and at
    the end, the pattern that it decodes to is written into the work dir: ``pattern.json``, and
    ``patterns/epoch_N.json`` to look at the search afterwards.

    Args:
        layout (str): See ``mmic.search.nats.decode``. Defaults to ``'sorted'``.
    """

    # After EMAHook, which puts the averaged alpha into the checkpoint.
    priority = 'VERY_LOW'

    def __init__(self, layout='sorted'):
        check_layout(layout)
        self.layout = layout
        self.saved_iter = -2

    def before_run(self, runner):
        """Find the supernet's layers.

        Raises:
            ValueError: There are none.
        """
        self.model = supernet_of(runner)
        self.convs = supernet_convs(self.model, MixedConv2d)
        if not self.convs:
            raise ValueError(
                'NATSHook: the model has no supernet layers (MixedConv2d); give its backbone '
                'genotypes, or take the hook out of the config.'
            )
        self.scope = common_scope(self.convs)

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.every_n_inner_iters(batch_idx, runner.log_processor.window_size):
            self._update_entropy(runner)

    def _update_entropy(self, runner):
        entropies = {name: relative_entropy(conv.alpha) for name, conv in self.convs.items()}
        mean = sum(entropies.values()) / len(entropies)
        runner.message_hub.update_scalar('train/alpha_entropy', mean)
        return entropies

    def after_train_epoch(self, runner):
        entropies = self._update_entropy(runner)
        tags = {f'alpha_entropy/{name}': value for name, value in entropies.items()}
        runner.visualizer.add_scalars(tags, step=runner.iter)
        _, reports = self._decode()
        lines = [f'NATS after epoch {runner.epoch + 1}, channels x (d_h, d_w), entropy:']
        for report in reports:
            counts = count_dilations(report.dilations)
            shown = ', '.join(f'{count} x ({h}, {w})' for (h, w), count in counts)
            lines.append(f'  {report.name}: {shown}; {report.entropy:.3f}')
        runner.logger.info('\n'.join(lines))

    def before_save_checkpoint(self, runner, checkpoint):
        """Write the pattern of the alpha that the checkpoint holds."""
        alphas = read_alphas(self.convs, checkpoint['state_dict'], 'the checkpoint')
        meta = checkpoint['meta']
        by_epoch = meta['epoch'] > runner.epoch
        name = f'epoch_{meta["epoch"]}' if by_epoch else f'iter_{meta["iter"]}'
        pattern, _ = self._decode(alphas, checkpoint=f'{name}.pth')
        folder = Path(runner.work_dir)
        for path in (folder / 'patterns' / f'{name}.json', folder / 'pattern.json'):
            # A resumed run writes the files of its work dir again.
            pattern.save(path, overwrite=True)
        self.saved_iter = runner.iter

    def after_train(self, runner):
        """Write the last pattern, unless the last checkpoint has brought it, and say where."""
        if not is_main_process():
            return
        path = Path(runner.work_dir) / 'pattern.json'
        if self.saved_iter < runner.iter - 1:
            self._decode()[0].save(path, overwrite=True)
        runner.logger.info(f'Wrote {path}; picture: python tools/show_pattern.py {path}')

    def _decode(self, alphas=None, **meta):
        return search_network(self.model, self.layout, self.scope, meta, alphas)
