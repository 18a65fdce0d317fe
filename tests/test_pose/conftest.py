"""The toy task's poses, made once for all tests of them."""

import pytest


@pytest.fixture(scope='session')
def people(tmp_path_factory):
    from toy_pose import make_people

    return make_people(tmp_path_factory.mktemp('pose') / 'people')


@pytest.fixture(scope='session')
def pose_config(people, tmp_path_factory):
    from toy_pose import write_config

    return write_config(tmp_path_factory.mktemp('pose') / 'plain.py', people)
