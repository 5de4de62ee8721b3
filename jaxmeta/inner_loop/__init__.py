"""The inner loop: adaptation to one structure. Open `adapt.py` first."""
