"""Batch normalisation statistics of one path through a supernet."""

import torch
from mmengine.runner import set_random_seed
from torch.nn.modules.batchnorm import _BatchNorm

from mmic.datasets.coco_split import draw


class BNRecalibration:
    """Fits the running statistics of a model's backbone and neck to the path that it runs.

    A supernet's own are those of all paths that were sampled. Guo et al., "Single Path
    One-Shot Neural Architecture Search", recalculate them for each path that they score; CR-NAS
    does not say. The images are drawn and augmented once and are kept in memory, so that all
    paths and all processes see the same.

    Args:
        model (nn.Module): With ``backbone``, perhaps ``neck``, and ``extract_feat`` that runs
            them, as the models of mmdet, mmpose and mmpretrain have.
        dataloader (DataLoader): Of training images.
        num_batches (int): Batches to average over, of the loader's size.
        seed (int): Seed of the draw. Defaults to 0.

    Raises:
        ValueError: Too few images, or no layer with statistics to fit: all are frozen.
    """

    def __init__(self, model, dataloader, num_batches, seed=0):
        self.model = model
        self.norms = fitted_norms(model)
        if not self.norms:
            raise ValueError(
                'bn_recalibrate: no batch normalisation of the backbone or neck is trained; '
                'norm_eval=True or frozen_stages keep their statistics fixed.'
            )
        dataset, size = dataloader.dataset, dataloader.batch_sampler.batch_size
        if num_batches * size > len(dataset):
            raise ValueError(
                f'bn_recalibrate={num_batches}: train_dataloader has {len(dataset)} images, '
                f'{len(dataset) // size} batches of {size}.'
            )
        images = sorted(draw(range(len(dataset)), num_batches * size, seed))
        set_random_seed(seed)  # of flips and crops
        self.batches = [
            dataloader.collate_fn([dataset[image] for image in images[start : start + size]])
            for start in range(0, len(images), size)
        ]

    @torch.no_grad()
    def __call__(self):
        """Replace the running statistics by the averages over the batches."""
        for norm in self.norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain average over all batches
            norm.train()
        for batch in self.batches:
            # Not as for training, where it may change the size of a batch at random.
            self.model.extract_feat(self.model.data_preprocessor(batch, False)['inputs'])
        for norm in self.norms:
            norm.eval()


def fitted_norms(model):
    """Batch normalisations of the backbone and neck that training fits; leaves eval mode on."""
    model.train()
    parts = [part for part in (model.backbone, getattr(model, 'neck', None)) if part is not None]
    norms = [
        module
        for part in parts
        for module in part.modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    ]
    model.eval()
    return norms
