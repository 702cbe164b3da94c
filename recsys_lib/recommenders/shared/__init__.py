"""What a model is made of. Read `base` before you write one."""
