"""Changes of slices and masks, on the device."""
