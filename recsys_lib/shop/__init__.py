"""The shop itself: what a product should cost, and how many to have."""
