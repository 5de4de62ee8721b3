"""How much surface lies between eight voxels, for each of the 256 ways in which they can be filled.

Marching cubes (Lorensen and Cline 1987) puts a vertex half-way along each edge of a 2x2x2 cell
whose ends differ, and triangles between the vertices. Where a cell can be cut in several ways, the
filled corners are kept apart if they are the fewer, the bare ones otherwise: so a mask and its
complement have the same surface. These are the areas of the reference implementation of the surface
Dice (Nikolov et al. 2018, arXiv 1809.04430).
"""

from functools import cache

import numpy as np
from jaxtyping import Float
from skimage.measure import marching_cubes, mesh_surface_area

# Bit of each corner in the number of a cell.
CORNERS = 1 << np.arange(8).reshape(2, 2, 2)


@cache
def cell_areas(spacing: tuple[float, float, float]) -> Float[np.ndarray, " 256"]:
    """Give the area in mm^2 inside a cell of every number, for voxels of `spacing` mm."""
    areas = np.zeros(256)
    for number in range(1, 128):
        filled = (number & CORNERS) > 0
        if np.count_nonzero(filled) > 4:
            filled = ~filled
        vertices, triangles, _, _ = marching_cubes(
            filled.astype(np.float32), 0.5, spacing=spacing, method="lorensen"
        )
        areas[[number, 255 - number]] = mesh_surface_area(vertices, triangles)
    areas.setflags(write=False)
    return areas
