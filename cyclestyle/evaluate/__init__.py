"""How good a trained model is: measured on pictures that it has not seen, as a table, JSON and a page."""
