# Registers mmic's models, so that configs name them as they name mmdet's own.
custom_imports = dict(imports=['mmic'], allow_failed_imports=False)
