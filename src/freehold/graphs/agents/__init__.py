"""The agents Freehold ships."""
