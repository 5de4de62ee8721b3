"""What a test asks, who answers, and what the scores say."""
