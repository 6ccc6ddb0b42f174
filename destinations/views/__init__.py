"""Pages of destinations and of what goes to them."""
