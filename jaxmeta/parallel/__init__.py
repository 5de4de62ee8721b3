"""The only folder that knows devices."""
