# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Few-shot segmentation by meta-learning, on whatever this runtime has
#
# A network learns, from organs that have labels, how to segment an organ that has five labelled
# slices. On a TPU or GPU runtime (*Runtime > Change runtime type*) nothing else changes.

# %% [markdown]
# ## Install
# Clone the repository first, or open the notebook from a checkout. The JAX of the runtime stays.

# %%
import os
import subprocess
import sys

while not os.path.exists("requirements.txt"):
    assert os.getcwd() != "/", "run this inside a checkout of jaxmeta"
    os.chdir("..")
if os.environ.get("COLAB_RELEASE_TAG"):
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "-q", "-r", "requirements.txt"], check=True
    )
sys.path.insert(0, os.getcwd())

# %% [markdown]
# ## Devices

# %%
from jaxmeta.parallel import devices

devices.begin()
print(devices.describe_devices())

# %% [markdown]
# ## Phantoms
# Ten small data sets, each with organs and a protocol of its own. To use your own scans, prepare
# them with `python -m experiments.prepare_data` and name the shards in `data=`. Keep shards on the
# runtime's own disk, and `workdir` on Drive: a run that is interrupted goes on from there.

# %%
import dataclasses
from pathlib import Path

from jaxmeta.runs.presets import PRESETS
from jaxmeta.commands.train import resolve

preset = PRESETS["unet-maml"].config
STEPS = int(os.environ.get("JAXMETA_STEPS", preset.steps))
workdir = Path(os.environ.get("JAXMETA_WORKDIR", "runs/colab"))
config = dataclasses.replace(
    preset, workdir=workdir, steps=STEPS, checkpoint_every=max(1, STEPS // 4)
)
config = resolve("unet-maml", config)

# %% [markdown]
# ## Train

# %%
from jaxmeta.runs.train import meta_train

meta_train(config)

# %% [markdown]
# ## What it learned
# Each held-out organ, adapted to from five labelled slices of one patient and scored on the others.

# %%
from jaxmeta.commands import test

test.test(test.Options(run=(config.workdir,)))

# %% [markdown]
# ## A picture

# %%
import matplotlib.pyplot as plt

pictures = sorted((config.workdir / "report").glob("*.png"))
for picture in pictures:
    print(picture)
image = plt.imread(next(p for p in pictures if "overlay" in p.name or p is pictures[-1]))
plt.figure(figsize=(12, 12 * image.shape[0] / image.shape[1]))
plt.imshow(image)
plt.axis("off")
plt.show()
