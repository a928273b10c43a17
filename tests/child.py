"""What a process of ``launch.py`` does; ``folder``, ``words``, ``environment`` and ``largest_file`` are given to it."""

import os
import resource
import sys

import torch

from segtricks.cli import main

os.chdir(folder)  # noqa: F821
os.environ.update(environment)  # noqa: F821
torch.set_num_threads(1)
log = os.open("log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
os.dup2(log, 1)
os.dup2(log, 2)
if largest_file is not None:  # noqa: F821
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))  # noqa: F821
status = main(words)  # noqa: F821
sys.stdout.flush()
sys.exit(status)
