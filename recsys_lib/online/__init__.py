"""What happens after the list is shown: clicks, and tests of two arms."""
