"""What a test asks, of whom, and how every row of its table fine-tunes."""
