"""Means of the inputs of a supernet's layers on images of its config."""

import torch
from mmengine.runner import Runner, set_random_seed

from mmic.datasets.coco_split import draw
from mmic.search.statistics import InputMeans


def measure_input_means(model, layers, cfg, samples, seed=0, progress=None):
    """Measure the means of layers' inputs on training images.

    The images are drawn at random, without repetition, from ``train_dataloader`` and take its
    pipeline, augmentation included: these are the inputs that the supernet was trained on. The
    model runs as in a test, on the GPU if there is one, with its running statistics.

    Args:
        model (BaseModel): With its trained weights. It is in eval mode and on the CPU afterwards.
        layers (dict[str, nn.Module]): Parts of it, by name.
        cfg (Config): Its ``train_dataloader`` has the images, and their number in a batch.
        samples (int): Images, exactly.
        seed (int): Of the draw and of augmentation. Defaults to 0.
        progress (Callable[[int], None], optional): Called with the number of images after each
            batch.

    Returns:
        dict[str, Tensor]: Mean of each input channel, float64 of shape (C_in,), by layer.

    Raises:
        ValueError: No ``train_dataloader``, fewer images than asked for, or a layer that does
            not run.
    """
    if not cfg.get('train_dataloader'):
        raise ValueError(f'{cfg.filename} has no train_dataloader to take images from.')
    loader = Runner.build_dataloader(cfg.train_dataloader, seed=seed)
    dataset, size = loader.dataset, loader.batch_sampler.batch_size
    if not 1 <= samples <= len(dataset):
        raise ValueError(
            f'samples must be from 1 to {len(dataset)}, the images of the train_dataloader of '
            f'{cfg.filename}; got {samples}.'
        )
    images = sorted(draw(range(len(dataset)), samples, seed))
    set_random_seed(seed)  # of flips and crops
    model.to('cuda' if torch.cuda.is_available() else 'cpu').eval()
    with InputMeans(layers) as inputs, torch.no_grad():
        for start in range(0, samples, size):
            batch = [dataset[image] for image in images[start : start + size]]
            # Not as for training, where it may change the size of a batch at random.
            data = model.data_preprocessor(loader.collate_fn(batch), False)
            model(**data, mode='tensor')
            if progress:
                progress(len(batch))
    model.cpu()
    return inputs.means()
