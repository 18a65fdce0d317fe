"""The settings of MMDetection 1.x, whose results the papers' plain networks are near."""

import copy

# Of the smooth L1 losses: how far from zero they are quadratic.
RPN_BETA, ROI_BETA, RETINA_BETA = 1 / 9, 1.0, 0.11
TWO_STAGE = ('FasterRCNN', 'MaskRCNN', 'CascadeRCNN')
ONE_STAGE = ('RetinaNet',)


def add_v1_compatible(parser):
    """Add ``--v1-compatible``, for training and test alike."""
    parser.add_argument(
        '--v1-compatible',
        action='store_true',
        help='a detector with the settings of MMDetection 1.x; train and test it with the same',
    )


def v1_compatible(cfg):
    """Give a detector's config the settings that MMDetection 1.x had.

    They are the differences that MMDetection's own ``configs/legacy_1.x`` have from its configs
    of today, for any backbone and neck:

    - anchors that are rounded and centred half a cell further, and boxes whose sides count one
      pixel more;
    - RoIAlign without the shift by half a pixel, with 2 x 2 samples in a bin;
    - smooth L1 losses for boxes in place of L1; smooth ones stay as they are;
    - Faster and Mask R-CNN: 2000 proposals to train on in place of 1000, and
      ``match_low_quality`` in the box head.

    Whatever the config sets of these is replaced.

    Args:
        cfg (Config): Of Faster R-CNN, Mask R-CNN, Cascade R-CNN, Cascade Mask R-CNN or RetinaNet,
            plain or with a method's convolutions.

    Returns:
        Config: A changed copy.

    Raises:
        ValueError: It is another detector, or has other anchors, box coders, box losses or RoI
            layers than MMDetection's; the message names what it has.
    """
    cfg = copy.deepcopy(cfg)
    model = _unwrapped(cfg.get('model', {}))
    detector = _name(model)
    if detector in ONE_STAGE:
        _change_dense_head(_unwrapped(model.bbox_head), RETINA_BETA)
    elif detector in TWO_STAGE:
        _change_dense_head(_unwrapped(model.rpn_head), RPN_BETA)
        _change_roi_head(model.roi_head)
        _change_training(model.train_cfg)
    else:
        known = ', '.join((*TWO_STAGE, *ONE_STAGE))
        raise ValueError(
            f'v1-compatible settings are known for {known}; the config has {detector or "none"}.'
        )
    return cfg


def _unwrapped(node):
    """The model in a node that a function like ``build_supernet`` builds, or the node itself."""
    return _unwrapped(node.model) if _name(node).startswith('build_') else node


def _name(node):
    return str(node.get('type', '')).rpartition('.')[2]


def _as_list(value):
    return value if isinstance(value, (list, tuple)) else [value]


def _change_dense_head(head, beta):
    _make_legacy(head.anchor_generator, 'AnchorGenerator')
    head.anchor_generator.center_offset = 0.5
    _make_legacy(head.bbox_coder, 'DeltaXYWHBBoxCoder')
    _smooth(head.loss_bbox, beta)


def _change_roi_head(roi_head):
    for key in ('bbox_roi_extractor', 'mask_roi_extractor'):
        for extractor in _as_list(roi_head.get(key, [])):
            _expect(extractor.roi_layer, 'RoIAlign')
            extractor.roi_layer.update(sampling_ratio=2, aligned=False)
    for head in _as_list(roi_head.bbox_head):
        _make_legacy(head.bbox_coder, 'DeltaXYWHBBoxCoder')
        _smooth(head.loss_bbox, ROI_BETA)


def _change_training(train_cfg):
    train_cfg.rpn_proposal.max_per_img = 2000
    # Cascades have a list, one for each stage; theirs were as they are.
    if not isinstance(train_cfg.rcnn, (list, tuple)):
        train_cfg.rcnn.assigner.match_low_quality = True


def _make_legacy(node, name):
    _expect(node, name, f'Legacy{name}')
    if _name(node) == name:
        node.type = node.type[: -len(name)] + f'Legacy{name}'


def _smooth(loss, beta):
    _expect(loss, 'L1Loss', 'SmoothL1Loss')
    if _name(loss) == 'L1Loss':
        loss.type = loss.type[: -len('L1Loss')] + 'SmoothL1Loss'
        loss.beta = beta


def _expect(node, *names):
    if _name(node) not in names:
        raise ValueError(
            f'v1-compatible settings are known for {" and ".join(names)}; the config has '
            f'{node.get("type")}.'
        )
