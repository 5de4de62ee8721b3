"""Few-shot medical image segmentation by meta-learning, in functional JAX."""
