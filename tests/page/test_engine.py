"""The engine in the browser draws what Python draws, and behaves as its contract says."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tests.page.conftest import PATIENCE, Site
