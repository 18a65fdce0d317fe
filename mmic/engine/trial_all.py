"""Try many configs, each in a process that may die, with the results kept on disk."""

import concurrent.futures
import functools
import gc
import json
import multiprocessing
import os
import shutil
import traceback
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from mmengine.config import Config, utils

from mmic.engine.rows import ROOT
from mmic.engine.trial_run import digest_of, try_config

DIED = 'its process died, of memory or a crash, or one beside it did; run it again'


class TrialJournal:
    """Results of trials, each written as a line of JSON as soon as it is known.

    Args:
        path (str | Path): The file; continued if it exists. A line cut short is passed over.

    Attributes:
        results (dict[str, dict]): The last result of each config, by its file's name.
    """

    def __init__(self, path):
        self.path = Path(path)
        self.results = {}
        text = self.path.read_text(encoding='utf-8') if self.path.is_file() else ''
        for line in text.splitlines():
            try:
                result = json.loads(line)
            except ValueError:
                continue
            self.results[result['config']] = result
        # What follows a line cut short must not be joined to it.
        self._start = '\n' if text and not text.endswith('\n') else ''

    def add(self, result):
        """Write a result."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with open(self.path, 'a', encoding='utf-8') as file:
            file.write(f'{self._start}{json.dumps(result)}\n')
        self._start = ''
        self.results[result['config']] = result


def try_all(configs, journal, data_root, work_dir, jobs=1):
    """Try configs and write the results into a journal.

    A config is left out if it passed before as it is now, inherited parts included, with the
    same versions of mmic, torch and mmengine.

    Args:
        configs (Sequence[str]): Config files, relative to the repository or absolute.
        journal (TrialJournal): Where results are, and go.
        data_root (str | Path): What ``make_generated`` made.
        work_dir (str | Path): A folder for each config goes into it, which is kept when it fails.
        jobs (int): Processes, of a thread each. Defaults to 1.

    Yields:
        dict[str, Any]: The result of a config, as it comes, new or old: ``config``, ``digest``
        and ``ok``; with the numbers of ``try_config`` where that is true, or with ``error``, and
        the file ``traceback`` if there is one.
    """
    waiting = list(configs)
    log = Path(work_dir) / 'output.log'
    log.parent.mkdir(parents=True, exist_ok=True)
    make_pool = functools.partial(
        concurrent.futures.ProcessPoolExecutor,
        jobs,
        # A forked process would share the parent's threads and their locks.
        mp_context=multiprocessing.get_context('spawn'),
        initializer=_start_process,
        initargs=(str(log),),
    )
    while waiting:
        running = {}
        with make_pool() as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < jobs:
                        config = waiting.pop(0)
                        known = journal.results.get(config, {})
                        arguments = (config, known, str(data_root), str(work_dir))
                        running[pool.submit(try_file, *arguments)] = config
                    done, _ = concurrent.futures.wait(
                        running, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    for future in done:
                        result = future.result()
                        config = running.pop(future)
                        if result != journal.results.get(config):
                            journal.add(result)
                        yield result
            except BrokenProcessPool:
                for config in running.values():
                    result = dict(config=config, digest=None, ok=False, error=DIED)
                    journal.add(result)
                    yield result


def try_file(config, known, data_root, work_dir):
    """Try a config file, unless it is known to pass; return its result as ``try_all`` does."""
    folder = Path(work_dir) / Path(config).with_suffix('').as_posix().lstrip('/')
    result = dict(config=config, digest=None)
    try:
        cfg = Config.fromfile(ROOT / config)
        result['digest'] = digest_of(cfg)
        if known.get('ok') and known['digest'] == result['digest']:
            return known
        numbers = try_config(cfg, data_root, folder)
    except (Exception, SystemExit) as error:
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / 'traceback.txt'
        path.write_text(traceback.format_exc(), encoding='utf-8')
        last = str(error).strip().splitlines()[-1:]
        words = ': '.join([type(error).__name__, *last])
        return dict(result, ok=False, error=words, traceback=str(path))
    finally:
        # Models are in cycles with their hooks. What stays, imports mostly, is not looked at again.
        gc.collect()
        gc.freeze()
    shutil.rmtree(folder)
    return dict(result, ok=True, **numbers)


def _start_process(log):
    """Send all output of a new process to a file, and prepare it for many configs."""
    with open(log, 'ab') as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    torch.set_num_threads(1)
    # mmengine reads a host's whole index of models for each of its files that a config inherits.
    utils.load = functools.lru_cache(maxsize=None)(utils.load)
