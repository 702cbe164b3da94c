"""The front page: results kept, README's tables and charts made from them (`make results`, `make readme`)."""
